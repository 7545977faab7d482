/* Load for the tap's benchmark: one TLS client and one TLS server in this process, joined by a pair of memory BIOs, so that
 * nothing but the library and the probes is timed. A pair is one write of the client and the reads of the server that take it in.
 * What is written are requests to a vendor, each of about a megabyte, cut into writes of the wanted size: what a tap hands over can be
 * put together and scanned. Each is answered. Both ends carry the server's name, so that both directions count as listed.
 *
 *   load HOST GO_FILE plain|ex SIZE:PAIRS:BURST:PERIOD_US...
 *
 * The program says READY, waits until GO_FILE exists (so that whoever measures can attach first), and then works: for each argument
 * PAIRS pairs of SIZE bytes in bursts of BURST, of which one begins every PERIOD_US (0: one after the other; a late one at once).
 * Prints BEGIN before and after: size, pairs, requests, median and 99th percentile in nanoseconds a pair, microseconds in all, late bursts. */
#include <errno.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_BYTES = 1 << 20, PIPE_BYTES = 4 << 20 };

static const char *host;
static int ex;
static SSL *client, *server;
static char *incoming;

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    long long x = *(const long long *)a, y = *(const long long *)b;
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

static void fail(const char *what) {
    fprintf(stderr, "load: %s failed\n", what);
    exit(1);
}

/* One way through the connection: size bytes from one end to the other. */
static void transfer(SSL *from, SSL *to, const char *out, size_t size) {
    size_t got = 0;
    if (ex) {
        size_t written = 0;
        if (SSL_write_ex(from, out, size, &written) != 1 || written != size) fail("SSL_write_ex");
        while (got < size) {
            size_t n = 0;
            if (SSL_read_ex(to, incoming, size - got, &n) != 1) fail("SSL_read_ex");
            got += n;
        }
    } else {
        if (SSL_write(from, out, (int)size) != (int)size) fail("SSL_write");
        while (got < size) {
            int n = SSL_read(to, incoming, (int)(size - got));
            if (n <= 0) fail("SSL_read");
            got += (size_t)n;
        }
    }
}

/* A chat request of exactly this length, about nothing that a rule looks for. */
static char *chat(size_t length) {
    static const char start[] = "{\"model\":\"gpt-4o-2024-08-06\",\"messages\":[{\"role\":\"user\",\"content\":\"";
    static const char end[] = "\"}]}";
    static const char *words[] = {"the", "quarterly", "report", "shows", "that", "demand", "for", "timber", "rose", "again,",
                                  "while", "prices", "of", "coastal", "freight", "fell", "by", "a", "third.", "Please", "summarize"};
    char *body = malloc(length + 1);
    size_t at = sizeof start - 1;
    memcpy(body, start, at);
    unsigned seed = 7;
    while (at < length - (sizeof end - 1)) {
        seed = seed * 1103515245 + 12345;
        const char *word = words[(seed >> 16) % (sizeof words / sizeof *words)];
        for (; *word && at < length - (sizeof end - 1); word++) body[at++] = *word;
        if (at < length - (sizeof end - 1)) body[at++] = ' ';
    }
    memcpy(body + at, end, sizeof end);
    return body;
}

static void head(size_t length) {
    char text[512];
    int n = snprintf(text, sizeof text,
                     "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                     host, length);
    transfer(client, server, text, (size_t)n);
}

static void answer(void) {
    static const char body[] = "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"index\":0,"
                               "\"message\":{\"role\":\"assistant\",\"content\":\"Timber up, freight down.\"},\"finish_reason\":\"stop\"}],"
                               "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5,\"total_tokens\":14}}";
    char text[1024];
    int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", sizeof body - 1,
                     body);
    transfer(server, client, text, (size_t)n);
}

static void sleep_until(long long at) {
    struct timespec t = {at / 1000000000LL, at % 1000000000LL};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
}

static void run(size_t size, long pairs, long burst, long period_us) {
    long in_request = (long)((REQUEST_BYTES + size - 1) / size), requests = 0, late = 0;
    size_t length = (size_t)in_request * size;
    char *body = chat(length);
    long long *each = malloc(sizeof *each * (size_t)pairs);
    long long begin = now_ns(), due = begin;
    for (long i = 0; i < pairs; i++) {
        if (i % burst == 0 && period_us > 0) {
            if (now_ns() < due) sleep_until(due);
            else if (i > 0) late++;
            due += period_us * 1000;
        }
        long part = i % in_request;
        if (part == 0) head(length);
        long long start = now_ns();
        transfer(client, server, body + (size_t)part * size, size);
        each[i] = now_ns() - start;
        if (part == in_request - 1) {
            answer();
            requests++;
        }
    }
    long long took = now_ns() - begin;
    /* The last request is ended too, so that the next argument begins with a head. */
    for (long part = pairs % in_request; part > 0 && part < in_request; part++) transfer(client, server, body + (size_t)part * size, size);
    if (pairs % in_request) {
        answer();
        requests++;
    }
    qsort(each, (size_t)pairs, sizeof *each, by_value);
    printf("%zu %ld %ld %lld %lld %lld %ld\n", size, pairs, requests, each[pairs / 2], each[pairs * 99 / 100], took / 1000, late);
    fflush(stdout);
    free(each);
    free(body);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: load HOST GO_FILE plain|ex SIZE:PAIRS:BURST:PERIOD_US...\n");
        return 2;
    }
    host = argv[1];
    ex = strcmp(argv[3], "ex") == 0;
    incoming = malloc(PIPE_BYTES);
    server = SSL_new(server_context());
    client = SSL_new(SSL_CTX_new(TLS_client_method()));
    /* Maps the library before READY; the names are set after, so that an attached tap sees them. */
    fprintf(stderr, "READY %d\n", getpid());
    wait_for(argv[2]);
    SSL_set_verify(client, SSL_VERIFY_NONE, NULL);
    SSL_set_tlsext_host_name(client, host);
    SSL_set_tlsext_host_name(server, host);
    BIO *near_end, *far_end;
    BIO_new_bio_pair(&near_end, PIPE_BYTES, &far_end, PIPE_BYTES);
    SSL_set_bio(server, near_end, near_end);
    SSL_set_bio(client, far_end, far_end);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    for (int i = 0; i < 20; i++) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
    for (int a = 4; a < argc; a++) {
        long size, pairs, burst, period_us;
        if (sscanf(argv[a], "%ld:%ld:%ld:%ld", &size, &pairs, &burst, &period_us) != 4) return 2;
        printf("BEGIN\n");
        fflush(stdout);
        run((size_t)size, pairs, burst, period_us);
    }
    return 0;
}
