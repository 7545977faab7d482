// A client on Go's own TLS, and a server that writes down what it read and sent. Standard library only.
//
//	client [--host NAME] [--port N] [--requests N] [--parallel N] [--size BYTES] [--answer-size BYTES] [--stream] [--http1]
//	       [--direct] [--ready FIFO] [--go FIFO] [--recorder PROGRAM --journal DIR]
//	client record --listen ADDRESS --journal DIR --ca-out FILE --names A,B
//
// The client sends one request and then N on each of its goroutines, by net/http, and prints one JSON line. With --direct it uses a
// *tls.Conn with no HTTP client around it: the handshake is left to the first write, one write is one request, and the answer is read into an array on the
// goroutine's stack. With --ready and --go the first connection waits after its handshake: it says so in the one pipe, and goes on after
// a line in the other. With --recorder it starts that program (a copy of this one, so that its file is another) as its server and goes
// there: by HTTP/2, unless --http1. The trusted certificates are those of SSL_CERT_FILE, as everywhere in Go.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// The recorder listens here; its names lead to the loopback.
const recorderPort = 8443

type settings struct {
	host, ready, goOn, recorder, journal string
	port, requests, parallel             int
	size, answerSize                     int
	stream, http1, direct                bool

	lock  sync.Mutex
	conns []net.Conn
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "record" {
		check(record(os.Args[2:]))
		return
	}
	var s settings
	flag.StringVar(&s.host, "host", "api.openai.com", "")
	flag.IntVar(&s.port, "port", 443, "")
	flag.IntVar(&s.requests, "requests", 1, "requests of each goroutine")
	flag.IntVar(&s.parallel, "parallel", 1, "goroutines")
	flag.IntVar(&s.size, "size", 1000, "bytes of a request's body")
	flag.IntVar(&s.answerSize, "answer-size", -1, "bytes of an answer's text")
	flag.BoolVar(&s.stream, "stream", false, "ask for a streamed answer")
	flag.BoolVar(&s.http1, "http1", false, "HTTP/1.1 only")
	flag.BoolVar(&s.direct, "direct", false, "without an HTTP client")
	flag.StringVar(&s.ready, "ready", "", "pipe to say that the first handshake is done")
	flag.StringVar(&s.goOn, "go", "", "pipe to wait for after it")
	flag.StringVar(&s.recorder, "recorder", "", "program to start as server")
	flag.StringVar(&s.journal, "journal", "", "where it writes down")
	flag.Parse()
	check(run(&s))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go client:", err)
		os.Exit(1)
	}
}

func run(s *settings) error {
	if s.recorder != "" {
		stop, err := startRecorder(s)
		if err != nil {
			return err
		}
		defer stop()
	}
	send := s.sender()
	// One connection for all is what HTTP/2 is for, and there is one only after a first request. And only one has been waited for.
	shared := s.ready != "" || (s.recorder != "" && !s.http1)
	sum := send(s.body(-1, 0))
	results := make([]result, s.parallel)
	var all sync.WaitGroup
	for worker := range results {
		all.Add(1)
		go func(worker int) {
			defer all.Done()
			send := send
			if !shared {
				send = s.sender()
			}
			for number := 0; number < s.requests && results[worker].err == nil; number++ {
				one := send(s.body(worker, number))
				results[worker].received += one.received
				results[worker].err = one.err
			}
		}(worker)
	}
	all.Wait()
	for _, one := range results {
		if sum.err != nil {
			break
		}
		sum.received, sum.err = sum.received+one.received, one.err
	}
	s.closeAll()
	if sum.err != nil {
		return sum.err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"client": "go", "version": runtime.Version(), "pid": os.Getpid(), "protocol": sum.protocol,
		"requests": s.requests*s.parallel + 1, "received_body_bytes": sum.received,
	})
}

type result struct {
	received int
	protocol string
	err      error
}

// body is a chat request of the wanted size, in which every line differs.
func (s *settings) body(worker, number int) []byte {
	var text strings.Builder
	for line := 0; text.Len() < s.size; line++ {
		fmt.Fprintf(&text, "worker %d, request %d, line %d of a long document\n", worker, number, line)
	}
	body, err := json.Marshal(map[string]any{
		"model": "gpt-4o", "stream": s.stream,
		"messages": []map[string]string{{"role": "user", "content": text.String()[:s.size]}},
	})
	check(err)
	return body
}

func (s *settings) address() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

func (s *settings) header(header http.Header) {
	header.Set("Content-Type", "application/json")
	header.Set("Authorization", "Bearer outflow-local-fixture")
	if s.answerSize >= 0 {
		header.Set("X-Fixture", fmt.Sprintf("size=%d", s.answerSize))
	}
}

// sender gives what sends a request: a client of its own, on connections that are kept, or none at all.
func (s *settings) sender() func([]byte) result {
	if s.direct {
		return s.withoutClient
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialTLSContext = s.dial
	if s.http1 {
		transport.ForceAttemptHTTP2 = false
	}
	client := &http.Client{Transport: transport}
	return func(body []byte) result {
		request, err := http.NewRequest("POST", "https://"+s.address()+"/v1/chat/completions", bytes.NewReader(body))
		if err != nil {
			return result{err: err}
		}
		s.header(request.Header)
		response, err := client.Do(request)
		if err != nil {
			return result{err: err}
		}
		defer response.Body.Close()
		received, err := io.Copy(io.Discard, response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = errors.New(response.Status)
		}
		return result{int(received), response.Proto, err}
	}
}

// dial makes a connection as net/http does, and remembers it: an idle one would be closed at some later time.
func (s *settings) dial(ctx context.Context, network, address string) (net.Conn, error) {
	config := &tls.Config{ServerName: s.host, NextProtos: []string{"h2", "http/1.1"}}
	if s.http1 {
		config.NextProtos = nil
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.conns = append(s.conns, conn)
	if s.ready != "" && len(s.conns) == 1 {
		err = s.meet()
	}
	return conn, err
}

func (s *settings) closeAll() {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}

// meet says that a handshake is done and waits for word to go on.
func (s *settings) meet() error {
	if err := os.WriteFile(s.ready, []byte("ready\n"), 0); err != nil {
		return err
	}
	goOn, err := os.Open(s.goOn)
	if err != nil {
		return err
	}
	defer goOn.Close()
	if line, err := bufio.NewReader(goOn).ReadString('\n'); err != nil || line != "go\n" {
		return fmt.Errorf("told %q: %v", line, err)
	}
	return nil
}

// withoutClient sends one request on a connection of its own, in one write that also shakes hands.
func (s *settings) withoutClient(body []byte) result {
	plain, err := net.Dial("tcp", s.address())
	if err != nil {
		return result{err: err}
	}
	conn := tls.Client(plain, &tls.Config{ServerName: s.host})
	defer conn.Close()
	request, err := http.NewRequest("POST", "https://"+s.host+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return result{err: err}
	}
	s.header(request.Header)
	request.Close = true
	var whole bytes.Buffer
	if err := request.Write(&whole); err != nil {
		return result{err: err}
	}
	if _, err := conn.Write(whole.Bytes()); err != nil {
		return result{err: err}
	}
	received, err := onTheStack(conn, 0)
	return result{received, "one write", err}
}

// onTheStack reads to the end into arrays that lie on the goroutine's stack, one a call: the stack grows and is moved meanwhile.
func onTheStack(conn *tls.Conn, depth int) (int, error) {
	var room [1500]byte
	received, err := conn.Read(room[:])
	if err == io.EOF {
		return received, nil
	}
	if err != nil {
		return received, err
	}
	more, err := onTheStack(conn, depth+1)
	return received + more, err
}

// startRecorder starts the server and points the client to it.
func startRecorder(s *settings) (func(), error) {
	ca := filepath.Join(filepath.Dir(s.journal), "recorder-ca.pem")
	listen := fmt.Sprintf("127.0.0.1:%d", recorderPort)
	command := exec.Command(s.recorder, "record", "--listen", listen, "--journal", s.journal, "--ca-out", ca, "--names", s.host)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	// It ends when it has written down all that was sent to it.
	stop := func() {
		_ = input.Close()
		_ = command.Wait()
	}
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || line != "listening\n" {
		stop()
		return nil, fmt.Errorf("the recorder said %q: %v", line, err)
	}
	// Go reads it when it first verifies a certificate, which is later.
	os.Setenv("SSL_CERT_FILE", ca)
	s.port = recorderPort
	return stop, nil
}
