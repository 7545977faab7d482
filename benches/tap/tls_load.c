/* Load for the tap's benchmark: one TLS client and one TLS server in this process, joined by a pair of memory BIOs, so that
 * nothing but the library and the probes is timed. Prints a line for each size: nanoseconds per pair of one SSL_write_ex and
 * the SSL_read_ex calls that take it in.
 *
 *   tls_load HOST GO_FILE PAIRS SIZE...
 *
 * HOST is the server name (SNI) that the client asks for: a listed one is copied, another is not. The program says READY,
 * waits until GO_FILE exists (so that whoever measures can attach first), and then works. */
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>
#include <libgen.h>

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static SSL_CTX *server_context(void) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const unsigned char *)"bench", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_sign(certificate, key, EVP_sha256());
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(context, certificate);
    SSL_CTX_use_PrivateKey(context, key);
    return context;
}

static void wait_for(const char *path) {
    int watch = inotify_init1(IN_CLOEXEC);
    char *copy = strdup(path);
    inotify_add_watch(watch, dirname(copy), IN_CREATE);
    char events[4096];
    while (access(path, F_OK) != 0) {
        if (read(watch, events, sizeof events) <= 0) break;
    }
    free(copy);
    close(watch);
}

/* One way through the connection: size bytes from one end to the other. */
static int transfer(SSL *from, SSL *to, const char *out, char *in, size_t size) {
    size_t written = 0, got = 0;
    if (SSL_write_ex(from, out, size, &written) != 1 || written != size) return -1;
    while (got < size) {
        size_t n = 0;
        if (SSL_read_ex(to, in, size - got, &n) != 1) return -1;
        got += n;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: tls_load HOST GO_FILE PAIRS SIZE...\n");
        return 2;
    }
    SSL *server = SSL_new(server_context()), *client = SSL_new(SSL_CTX_new(TLS_client_method()));
    /* Maps the library before READY; the name is set after, so that an attached tap sees it. */
    fprintf(stderr, "READY %d\n", getpid());
    wait_for(argv[2]);
    SSL_set_verify(client, SSL_VERIFY_NONE, NULL);
    SSL_set_tlsext_host_name(client, argv[1]);
    BIO *near_end, *far_end;
    BIO_new_bio_pair(&near_end, 1 << 21, &far_end, 1 << 21);
    SSL_set_bio(server, near_end, near_end);
    SSL_set_bio(client, far_end, far_end);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    for (int i = 0; i < 20; i++) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
    long pairs = atol(argv[3]);
    double *each = malloc(sizeof(double) * (size_t)pairs);
    for (int a = 4; a < argc; a++) {
        size_t size = (size_t)atol(argv[a]);
        char *out = malloc(size), *in = malloc(size);
        memset(out, 'x', size);
        for (int i = 0; i < 200; i++) {
            if (transfer(client, server, out, in, size)) return 1;
        }
        for (long i = 0; i < pairs; i++) {
            double start = now_ns();
            if (transfer(client, server, out, in, size)) return 1;
            each[i] = now_ns() - start;
        }
        qsort(each, (size_t)pairs, sizeof(double), by_value);
        printf("%zu %ld %.0f %.0f\n", size, pairs, each[pairs / 2], each[pairs * 99 / 100]);
        fflush(stdout);
        free(out);
        free(in);
    }
    return 0;
}
