/* HTTPS through AWS-LC, which no package at hand carries: built by hand from SOURCE, the folder aws-lc in the crate aws-lc-sys:
 *
 *   cmake -S SOURCE -B b -DBUILD_TESTING=OFF -DBUILD_TOOL=OFF -DDISABLE_GO=ON -DDISABLE_PERL=ON
 *   make -C b ssl crypto && cc -I SOURCE/include tests/e2e/clients/aws_lc_client.c b/ssl/libssl.a b/crypto/libcrypto.a -lstdc++ -lpthread
 *
 * Usage: aws_lc_client FILE...
 *
 * POSTs each FILE, a chat request, over one connection: by SSL_write and SSL_write_ex in turn, and reads by SSL_peek, SSL_read and SSL_read_ex.
 * Prints one JSON line. */
#include <netdb.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOST "api.openai.com"

static void need(int is, const char *what) {
  if (!is) {
    fprintf(stderr, "aws_lc_client: %s\n", what);
    exit(1);
  }
}

static int connected(void) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
  need(getaddrinfo(HOST, "443", &hints, &found) == 0, "no address");
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  need(fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0, "no connection");
  freeaddrinfo(found);
  return fd;
}

/* Reads one answer whose length is given by its head; gives the number of bytes. */
static size_t answer(SSL *ssl) {
  static char text[1 << 20];
  size_t have = 0, want = sizeof text;
  while (have < want) {
    need(SSL_peek(ssl, text + have, 10) > 0, "nothing to peek at");
    size_t got = 0;
    if (have % 2) {
      need(SSL_read_ex(ssl, text + have, sizeof text - 1 - have, &got) == 1, "SSL_read_ex");
    } else {
      int read = SSL_read(ssl, text + have, 700);
      need(read > 0, "SSL_read");
      got = read;
    }
    have += got;
    text[have] = 0;
    char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
    if (end && length && length < end) want = end + 4 - text + atol(length + 15);
  }
  need(strncmp(text, "HTTP/1.1 200", 12) == 0, "the answer is no success");
  return have;
}

int main(int count, char **files) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  need(SSL_CTX_load_verify_locations(context, getenv("SSL_CERT_FILE"), NULL), "no certificates");
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  SSL *ssl = SSL_new(context);
  need(SSL_set_tlsext_host_name(ssl, HOST) && SSL_set_fd(ssl, connected()) && SSL_connect(ssl) == 1, "no handshake");
  size_t received = 0;
  for (int i = 1; i < count; i++) {
    FILE *file = fopen(files[i], "r");
    need(file != NULL, files[i]);
    static char body[4 << 20], head[512];
    size_t length = fread(body, 1, sizeof body, file), written = 0;
    fclose(file);
    int head_length = snprintf(head, sizeof head,
                               "POST /v1/chat/completions HTTP/1.1\r\nHost: " HOST "\r\nContent-Type: application/json\r\n"
                               "Authorization: Bearer outflow-local-fixture\r\nContent-Length: %zu\r\n\r\n", length);
    need(SSL_write_ex(ssl, head, head_length, &written) == 1 && written == (size_t)head_length, "SSL_write_ex");
    need(SSL_write(ssl, body, (int)length) == (int)length, "SSL_write");
    received += answer(ssl);
  }
  SSL_shutdown(ssl);
  SSL_free(ssl);
  SSL_CTX_free(context);
  printf("{\"client\": \"aws_lc\", \"version\": \"%s\", \"received_bytes\": %zu}\n", OpenSSL_version(OPENSSL_VERSION), received);
}
