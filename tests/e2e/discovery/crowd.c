/* Many small processes that each load a library. Enters: how many, when, which. Leaves: a byte on standard output for each that has its
 * library. All end when standard input is closed at its other end, or after two minutes.
 *
 *   crowd COUNT now|late LIBRARY...
 *
 * late: one byte for each process comes first; the libraries are loaded when a byte for each arrives on standard input. */
#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int count = atoi(argv[1]), late = strcmp(argv[2], "late") == 0;
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0) return 1;
        if (child > 0) continue;
        char byte = '.';
        alarm(120);
        if (late && (write(1, &byte, 1) != 1 || read(0, &byte, 1) != 1)) _exit(1);
        if (!dlopen(argv[3 + i % (argc - 3)], RTLD_NOW)) {
            fprintf(stderr, "crowd: %s\n", dlerror());
            _exit(1);
        }
        if (write(1, &byte, 1) != 1) _exit(1);
        /* Reading would take the bytes of others; a hang-up is heard without it. */
        struct pollfd end = {.fd = 0};
        poll(&end, 1, -1);
        _exit(0);
    }
    close(0);
    int bad = 0, status;
    while (wait(&status) > 0) bad |= status;
    return bad != 0;
}
