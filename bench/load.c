/* The client: `load PORT CONNECTIONS CLIENTS` prints the seconds that CONNECTIONS took, made by CLIENTS threads at once.
 *
 * One connection is: connect, send a line, read its echo and then end of file, close. It is C with blocking threads because the
 * client must not be the bottleneck: it needs about five system calls where the peer forks and executes a program. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char LINE[] = "the quick brown fox\n";
enum { LENGTH = sizeof LINE - 1, PATIENCE_SECONDS = 10, MOST_CLIENTS = 64 };

static struct sockaddr_in server;
static atomic_long left;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *step) {
    perror(step);
    exit(1); /* one lost connection makes the whole sample worthless */
}

static void converse(void) {
    const struct timeval patience = {PATIENCE_SECONDS, 0};
    char echo[LENGTH + 1];
    size_t have = 0;
    ssize_t got;
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(connection, (struct sockaddr *)&server, sizeof server))
        fail("connect");
    if (send(connection, LINE, LENGTH, MSG_NOSIGNAL) != LENGTH)
        fail("send");
    while (have < sizeof echo && (got = recv(connection, echo + have, sizeof echo - have, 0)) != 0) {
        if (got < 0)
            fail("receive");
        have += (size_t)got;
    }
    if (have != LENGTH || memcmp(echo, LINE, LENGTH)) {
        fprintf(stderr, "the echo is not the line: %zu bytes of %d\n", have, LENGTH);
        exit(1);
    }
    close(connection);
}

static void *client(void *nothing) {
    while (atomic_fetch_sub(&left, 1) > 0)
        converse();
    return nothing;
}

int main(int count, char **arguments) {
    pthread_t threads[MOST_CLIENTS];
    if (count != 4)
        return 2;
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    left = atol(arguments[2]);
    int clients = atoi(arguments[3]);
    if (clients < 1 || clients > MOST_CLIENTS)
        return 2;
    double began = now();
    for (int i = 1; i < clients; i++)
        if (pthread_create(&threads[i], NULL, client, NULL))
            fail("thread");
    client(NULL);
    for (int i = 1; i < clients; i++)
        pthread_join(threads[i], NULL);
    printf("%.9f\n", now() - began);
    return 0;
}
