/* The service that every peer activates: it echoes one line and exits.
 *
 * Without arguments it accepts one connection on the first passed socket (fd 3, LISTEN_FDS); as `service inetd` its connection
 * is already standard input and output. It is static and does nothing else, so that what is measured is the supervisor. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_PASSED = 3, FORGOTTEN_SECONDS = 30 };

static int echo_line(int in, int out) {
    char line[512];
    size_t have = 0;
    while (have < sizeof line && !memchr(line, '\n', have)) {
        ssize_t got = read(in, line + have, sizeof line - have);
        if (got <= 0)
            return 1;
        have += (size_t)got;
    }
    return write(out, line, have) != (ssize_t)have;
}

int main(int count, char **arguments) {
    alarm(FORGOTTEN_SECONDS); /* a service whose client and supervisor were both killed must not live on */
    if (count > 1 && !strcmp(arguments[1], "inetd"))
        return echo_line(STDIN_FILENO, STDOUT_FILENO);
    const char *passed = getenv("LISTEN_FDS");
    if (!passed || strcmp(passed, "1"))
        return 2;
    int connection = accept(FIRST_PASSED, NULL, NULL);
    return connection < 0 || echo_line(connection, connection);
}
