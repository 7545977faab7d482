/* What programs rarely do with OpenSSL, on both ends of connections inside one process (pairs of BIOs, so no socket is in the way).
 *
 *   openssl_cases DIR [READY GO BULK]
 *
 * Writes into DIR what each listed connection's client sent (N.sent) and received (N.received), and prints one line of facts as
 * JSON: how many calls moved data and how much, on both ends, and how often bytes were only peeked at. With READY and GO, two
 * named pipes, it then says "ready", waits, sends BULK requests of 30,000 bytes, says "ready", waits again, and sends BULK more. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t calls, bytes, peeks, peeked_bytes, retries, partial, reused, early;
static const char *folder;
static int connections;

static void die(const char *what) {
    fprintf(stderr, "openssl_cases: %s\n", what);
    exit(1);
}

/* One connection: both ends, and where what the client sent and received is noted (-1: nowhere). */
struct pair {
    SSL *client, *server;
    int sent, received;
};

static void note(int file, const void *data, size_t size) {
    if (file >= 0 && write(file, data, size) != (ssize_t)size) die("cannot note");
}

static int note_file(int number, const char *end) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%d.%s", folder, number, end);
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static void counted(size_t size) {
    calls++;
    bytes += size;
}

static int any_name(SSL *ssl, int *alert, void *unused) {
    (void)ssl, (void)alert, (void)unused;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *server_context(void) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const unsigned char *)"cases", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_sign(certificate, key, EVP_sha256());
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(context, certificate);
    SSL_CTX_use_PrivateKey(context, key);
    /* Early data is taken only for the name that the session was made with. */
    SSL_CTX_set_tlsext_servername_callback(context, any_name);
    SSL_CTX_set_max_early_data(context, 16384);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"cases", 5);
    return context;
}

static struct pair join(SSL_CTX *clients, SSL_CTX *servers, const char *host, int noted) {
    struct pair pair = {SSL_new(clients), SSL_new(servers), -1, -1};
    BIO *near, *far;
    if (!BIO_new_bio_pair(&near, 65536, &far, 65536)) die("no BIO pair");
    SSL_set_bio(pair.client, near, near);
    SSL_set_bio(pair.server, far, far);
    SSL_set_connect_state(pair.client);
    SSL_set_accept_state(pair.server);
    if (host) SSL_set_tlsext_host_name(pair.client, host);
    if (noted) {
        pair.sent = note_file(connections, "sent");
        pair.received = note_file(connections, "received");
        connections++;
    }
    return pair;
}

static void shake(struct pair *pair) {
    for (int turn = 0; turn < 20; turn++) {
        int a = SSL_do_handshake(pair->client), b = SSL_do_handshake(pair->server);
        if (a == 1 && b == 1) return;
    }
    die("no handshake");
}

/* Everything that the server can read now, as half-size reads; given back is how much. */
static size_t drain_server(struct pair *pair) {
    static char buffer[16384];
    size_t all = 0;
    for (;;) {
        int n = SSL_read(pair->server, buffer, all % 2 ? sizeof buffer : sizeof buffer / 2);
        if (n <= 0) return all;
        counted((size_t)n);
        all += (size_t)n;
    }
}

/* Sends all of it with SSL_write, with whatever retries and parts that takes. */
static void send_all(struct pair *pair, const char *data, size_t size) {
    size_t done = 0, arrived = 0;
    while (done < size) {
        int n = SSL_write(pair->client, data + done, (int)(size - done));
        if (n > 0) {
            counted((size_t)n);
            note(pair->sent, data + done, (size_t)n);
            if ((size_t)n < size - done) partial++;
            done += (size_t)n;
        } else if (SSL_get_error(pair->client, n) == SSL_ERROR_WANT_WRITE) {
            retries++;
        } else {
            die("SSL_write");
        }
        arrived += drain_server(pair);
    }
    while (arrived < size) {
        size_t more = drain_server(pair);
        if (more == 0) die("bytes are missing");
        arrived += more;
    }
}

static void answer(struct pair *pair, const char *data, size_t size, int by_ex) {
    size_t n = 0;
    if (SSL_write_ex(pair->server, data, size, &n) != 1) die("SSL_write_ex");
    counted(n);
    static char buffer[65536];
    size_t all = 0;
    /* The same bytes, seen twice before they are taken. */
    for (int turn = 0; turn < 2; turn++) {
        int seen = SSL_peek(pair->client, buffer, 100);
        if (seen <= 0) die("SSL_peek");
        peeks++;
        peeked_bytes += (size_t)seen;
    }
    size_t seen_ex = 0;
    if (SSL_peek_ex(pair->client, buffer, 50, &seen_ex) != 1) die("SSL_peek_ex");
    peeks++;
    peeked_bytes += seen_ex;
    while (all < size) {
        size_t got = 0;
        if (by_ex) {
            if (SSL_read_ex(pair->client, buffer, 700, &got) != 1) die("SSL_read_ex");
        } else {
            int read = SSL_read(pair->client, buffer, 700);
            if (read <= 0) die("SSL_read");
            got = (size_t)read;
        }
        counted(got);
        note(pair->received, buffer, got);
        all += got;
    }
    /* Nothing is left: a failed call, which moves nothing. */
    if (SSL_read(pair->client, buffer, 10) > 0) die("more than was sent");
}

static void part(struct pair *pair) {
    /* Without a goodbye the session could not be taken up again. */
    SSL_shutdown(pair->client);
    SSL_shutdown(pair->server);
    SSL_free(pair->client);
    SSL_free(pair->server);
    if (pair->sent >= 0) {
        close(pair->sent);
        close(pair->received);
    }
}

static char *request(const char *host, size_t size) {
    char *text = malloc(size);
    int head = snprintf(text, size, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n\r\n", host, size);
    for (size_t i = (size_t)head; i < size; i++) text[i] = (char)('a' + i * 7 % 26);
    return text;
}

/* Waits for its turn; a pipe that the test holds open never ends. */
static void meet(const char *ready, const char *go) {
    char word[3];
    int out = open(ready, O_WRONLY | O_CLOEXEC), in = open(go, O_RDONLY | O_CLOEXEC);
    if (out < 0 || in < 0 || write(out, "ready\n", 6) != 6 || read(in, word, 3) != 3) die("nobody to meet");
    close(out);
    close(in);
}

static SSL_SESSION *ticket;
static int keep_ticket(SSL *ssl, SSL_SESSION *session) {
    (void)ssl;
    if (ticket) SSL_SESSION_free(ticket);
    ticket = session;
    return 1;
}

static void early_data(SSL_CTX *clients, SSL_CTX *servers, const char *host) {
    const char text[] = "POST /v1/early HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: 0\r\n\r\n";
    struct pair pair = join(clients, servers, host, 1);
    SSL_set_session(pair.client, ticket);
    size_t n = 0;
    if (SSL_write_early_data(pair.client, text, sizeof text - 1, &n) != 1) die("SSL_write_early_data");
    counted(n);
    note(pair.sent, text, n);
    char buffer[4096];
    for (;;) {
        size_t got = 0;
        int state = SSL_read_early_data(pair.server, buffer, sizeof buffer, &got);
        if (state == SSL_READ_EARLY_DATA_ERROR) die("SSL_read_early_data");
        if (got > 0) counted(got);
        early += got;
        if (state == SSL_READ_EARLY_DATA_FINISH || got == n) break;
    }
    shake(&pair);
    part(&pair);
}

int main(int count, char **arguments) {
    if (count != 2 && count != 5) die("openssl_cases DIR [READY GO BULK]");
    folder = arguments[1];
    SSL_CTX *clients = SSL_CTX_new(TLS_client_method()), *servers = server_context();
    SSL_CTX_set_session_cache_mode(clients, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(clients, keep_ticket);
    const char *listed = "api.openai.com", *other = "www.example.test";
    char *small = request(listed, 3000), *large = request(listed, 300000);

    if (count == 5) {
        struct pair pair = join(clients, servers, listed, 1);
        shake(&pair);
        char *bulk = request(listed, 30000);
        for (int phase = 0; phase < 2; phase++) {
            meet(arguments[2], arguments[3]);
            for (int i = 0; i < atoi(arguments[4]); i++) send_all(&pair, bulk, 30000);
        }
        part(&pair);
    } else {
        /* Whole calls, both flavours; then a large one that does not fit the pipe between the ends, first retried, then in parts. */
        struct pair pair = join(clients, servers, listed, 1);
        shake(&pair);
        send_all(&pair, small, 3000);
        answer(&pair, small, 3000, 0);
        answer(&pair, large, 20000, 1);
        send_all(&pair, large, 300000);
        SSL_set_mode(pair.client, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        send_all(&pair, large, 300000);
        part(&pair);

        /* Objects that follow each other at one address: a vendor's, another host's, one without a name, a vendor's again. */
        void *before = NULL;
        const char *hosts[] = {listed, other, NULL, listed, other, listed};
        for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
            int is_listed = hosts[i] == listed;
            struct pair next = join(clients, servers, hosts[i], is_listed);
            if (next.client == before) reused++;
            before = next.client;
            shake(&next);
            char text[200];
            int size = snprintf(text, sizeof text, "%s GET of connection %zu to %s", is_listed ? "open" : "CANARY-of-openssl-cases", i, hosts[i] ? hosts[i] : "nobody");
            send_all(&next, text, (size_t)size);
            part(&next);
        }
        early_data(clients, servers, listed);
    }
    printf("{\"calls\":%llu,\"bytes\":%llu,\"peeks\":%llu,\"peeked_bytes\":%llu,\"retries\":%llu,\"partial\":%llu,\"reused\":%llu,"
           "\"early_bytes\":%llu,\"connections\":%d}\n",
           (unsigned long long)calls, (unsigned long long)bytes, (unsigned long long)peeks, (unsigned long long)peeked_bytes,
           (unsigned long long)retries, (unsigned long long)partial, (unsigned long long)reused, (unsigned long long)early, connections);
    return 0;
}
