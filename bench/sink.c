/* sink: watchers that receive every change and decode nothing, so that they cost as little as watchers
 * can.
 *
 *   cc -O2 -o sink sink.c
 *   sink PORT COUNT TOPIC
 *
 * Each connection speaks ZMTP 3.0 (NULL) as a SUB socket does and subscribes to TOPIC. Prints "ready" when all have
 * subscribed; ends when its standard input does, and prints how many bytes came.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_BYTES (1 << 18)

static void all(int fd, unsigned char *bytes, size_t size, int writes) {
    for (size_t at = 0; at < size;) {
        ssize_t n = writes ? write(fd, bytes + at, size - at) : read(fd, bytes + at, size - at);
        if (n <= 0) {
            perror("sink");
            exit(1);
        }
        at += (size_t)n;
    }
}

static int dial(int port, const char *topic) {
    struct sockaddr_in s = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (void *)&s, sizeof s)) {
        perror("connect");
        exit(1);
    }
    unsigned char greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'}, theirs[64], head[2],
                  rest[256];
    unsigned char ready[] = "\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB", subscription[256];
    all(fd, greeting, sizeof greeting, 1);
    all(fd, theirs, sizeof theirs, 0);
    all(fd, ready, 2 + ready[1], 1);
    all(fd, head, 2, 0);
    all(fd, rest, head[1], 0);
    int size = snprintf((char *)subscription, sizeof subscription, "%c%c\x01%s", 0, (int)strlen(topic) + 1, topic);
    all(fd, subscription, (size_t)size, 1);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: sink PORT COUNT TOPIC\n");
        return 2;
    }
    static char in[IN_BYTES];
    long long bytes = 0;
    int poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = 0}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
    for (int at = 0; at < atoi(argv[2]); at++) {
        event.data.fd = dial(atoi(argv[1]), argv[3]);
        epoll_ctl(poller, EPOLL_CTL_ADD, event.data.fd, &event);
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poller, ready, 256, -1);
        for (int at = 0; at < n; at++) {
            ssize_t got = read(ready[at].data.fd, in, IN_BYTES);
            if (ready[at].data.fd == 0 && got <= 0) return printf("bytes=%lld\n", bytes), 0;
            if (got <= 0) return fprintf(stderr, "connection closed\n"), 1;
            bytes += got;
        }
    }
}
