package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The name of the server behind the recorder: no vendor's.
const inner = "inner.outflow.test"

// Pages are numbered from here, so that the journal of another server may be in the same folder.
var pages atomic.Int64

// record serves, until its standard input is closed, HTTP/2 and HTTP/1.1 and writes down the plain bytes of each connection, as tests/llm-server does: between it and a server
// of net/http, which speaks HTTP/2 by TLS alone, lies a connection by TLS of its own.
func record(arguments []string) error {
	flags := flag.NewFlagSet("record", flag.ExitOnError)
	listen := flags.String("listen", "", "where to listen")
	journal := flags.String("journal", "", "where to write down")
	caOut := flags.String("ca-out", "", "where the certificate to trust goes")
	names := flags.String("names", "", "what to stand for")
	check(flags.Parse(arguments))
	pages.Store(500)

	certificate, ca, err := identity(append(strings.Split(*names, ","), inner))
	if err != nil {
		return err
	}
	if err := os.WriteFile(*caOut, ca, 0o644); err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
	behind, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), TLSConfig: config.Clone()}
	go func() { check(server.ServeTLS(behind, "", "")) }()
	front, err := tls.Listen("tcp", *listen, config)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = front.Close()
	}()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := front.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		open.Add(1)
		go func() {
			defer open.Done()
			if err := pass(conn.(*tls.Conn), behind.Addr().String(), trusted, *journal); err != nil {
				fmt.Fprintln(os.Stderr, "recorder:", err)
			}
		}()
	}
}

// pass hands a connection on, both ways, and writes down what passes before the next one sees it.
func pass(conn *tls.Conn, address string, trusted *x509.CertPool, journal string) error {
	defer conn.Close()
	if err := conn.Handshake(); err != nil {
		return err
	}
	state := conn.ConnectionState()
	next := &tls.Config{ServerName: inner, RootCAs: trusted, NextProtos: []string{state.NegotiatedProtocol}}
	server, err := tls.Dial("tcp", address, next)
	if err != nil {
		return err
	}
	defer server.Close()
	stem := filepath.Join(journal, fmt.Sprintf("%03d-%s", pages.Add(1), state.ServerName))
	received, err := os.OpenFile(stem+".received", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer received.Close()
	sent, err := os.OpenFile(stem+".sent", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer sent.Close()
	var both sync.WaitGroup
	both.Add(2)
	go func() {
		defer both.Done()
		_, _ = io.Copy(io.MultiWriter(received, server), conn)
		_ = server.CloseWrite()
	}()
	go func() {
		defer both.Done()
		_, _ = io.Copy(io.MultiWriter(sent, conn), server)
		_ = conn.CloseWrite()
	}()
	both.Wait()
	return nil
}

// answer reads the request to its end and gives as many bytes back as the header asks for.
func answer(writer http.ResponseWriter, request *http.Request) {
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		return
	}
	size := 1000
	_, _ = fmt.Sscanf(request.Header.Get("X-Fixture"), "size=%d", &size)
	writer.Header().Set("Content-Type", "application/json")
	var text strings.Builder
	for line := 0; text.Len() < size; line++ {
		fmt.Fprintf(&text, "line %d of a long answer\n", line)
	}
	_, _ = io.WriteString(writer, text.String()[:size])
}

// identity makes a certificate for the names, and the one that vouches for it, as PEM. The keys never leave memory.
func identity(names []string) (tls.Certificate, []byte, error) {
	var none tls.Certificate
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	leafKey, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err == nil {
		err = err2
	}
	if err != nil {
		return none, nil, err
	}
	begin, end := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Outflow throw-away test CA"}, NotBefore: begin, NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Outflow recorder"}, NotBefore: begin, NotAfter: end,
		DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caBytes, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return none, nil, err
	}
	leafBytes, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, caKey)
	if err != nil {
		return none, nil, err
	}
	certificate := tls.Certificate{Certificate: [][]byte{leafBytes}, PrivateKey: leafKey}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caBytes}), nil
}
