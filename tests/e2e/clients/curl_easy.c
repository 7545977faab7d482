/* The curl of a TLS library that Debian has no curl program for: libcurl3-gnutls and libcurl3-nss are libraries only. This is the
 * least that a program does with one of them, the same calls whatever is below.
 *
 * Usage: curl_easy CA URL FILE...     POSTs each FILE over one kept-alive connection. Prints one JSON line: its version and
 * that of the TLS below.
 *
 * The prototypes stand here, for the headers of the two libraries cannot be installed side by side; the numbers are libcurl's ABI
 * (curl.h: CURLOPTTYPE_OBJECTPOINT is 10000, CURLOPTTYPE_FUNCTIONPOINT is 20000, CURLINFO_LONG is 0x200000).
 */
#include <stdio.h>
#include <stdlib.h>

extern char *curl_version(void);
extern void *curl_easy_init(void);
extern int curl_easy_setopt(void *easy, int option, ...);
extern int curl_easy_perform(void *easy);
extern int curl_easy_getinfo(void *easy, int info, ...);
extern const char *curl_easy_strerror(int code);
extern void curl_easy_cleanup(void *easy);
extern void *curl_slist_append(void *list, const char *line);
extern void curl_slist_free_all(void *list);

enum { POSTFIELDSIZE = 60, WRITEDATA = 10001, URL = 10002, POSTFIELDS = 10015, HTTPHEADER = 10023, CAINFO = 10065 };
enum { RESPONSE_CODE = 0x200002 };

static char *read_whole(const char *path, long *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) || (*size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
        return NULL;
    char *bytes = malloc(*size + 1);
    if (bytes && fread(bytes, 1, *size, file) != (size_t)*size) {
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    return bytes;
}

int main(int count, char **arguments)
{
    if (count < 4)
        return 2;
    FILE *nowhere = fopen("/dev/null", "wb");
    void *easy = curl_easy_init();
    void *headers = curl_slist_append(NULL, "content-type: application/json");
    headers = curl_slist_append(headers, "authorization: Bearer outflow-local-fixture");
    headers = curl_slist_append(headers, "x-fixture: size=40000");
    headers = curl_slist_append(headers, "expect:");
    curl_easy_setopt(easy, CAINFO, arguments[1]);
    curl_easy_setopt(easy, URL, arguments[2]);
    curl_easy_setopt(easy, HTTPHEADER, headers);
    curl_easy_setopt(easy, WRITEDATA, nowhere);
    int failed = 0;
    for (int number = 3; number < count && !failed; number++) {
        long size = 0, status = 0;
        char *body = read_whole(arguments[number], &size);
        curl_easy_setopt(easy, POSTFIELDSIZE, size);
        curl_easy_setopt(easy, POSTFIELDS, body);
        int code = body ? curl_easy_perform(easy) : 26; /* CURLE_READ_ERROR */
        curl_easy_getinfo(easy, RESPONSE_CODE, &status);
        failed = code || status != 200;
        if (failed)
            fprintf(stderr, "%s: %s, status %ld\n", arguments[number], curl_easy_strerror(code), status);
        free(body);
    }
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    /* libcurl/7.88.1 GnuTLS/3.7.9 zlib/… */
    char version[32] = "", tls[32] = "";
    if (sscanf(curl_version(), "libcurl/%31s %*[^/]/%31s", version, tls) != 2)
        return 3;
    printf("{\"version\": \"libcurl %s\", \"tls\": \"%s\"}\n", version, tls);
    return failed;
}
