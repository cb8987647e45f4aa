/* load: a load generator for kvd's command socket, the counterpart of redis-benchmark.
 *
 *   cc -O2 -o load load.c
 *   load HOST PORT OP REQUESTS CONNECTIONS PIPELINE VALUE_BYTES [KEYSPACE]
 *   load unix PATH OP ...
 *
 * OP: GET, SET, or MULTIGETn (n keys a request). Each connection speaks ZMTP 3.0 (NULL) as a REQ
 * socket does - empty delimiter, then a msgpack array - and keeps PIPELINE requests in flight.
 * Prints requests per second and latency; exits 1 if any reply is not ["OK", ...] or none comes in 10 s.
 * One thread, epoll, no libzmq: it costs about what redis-benchmark costs, so the two can be compared.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define OUT_BYTES (1 << 20)
#define IN_BYTES (1 << 22)

typedef struct {
    int fd;
    unsigned char *in, *out;
    size_t held;
    double *sent_at;
    int head, tail;
} Connection;

static int requests, connections, pipeline, value_bytes, keyspace = 100000, sent, answered, failed;
static const char *op;
static char *value;
static double *latency;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void write_all(int fd, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0) {
            if (errno == EAGAIN) continue;
            perror("write");
            exit(1);
        }
        at += n, size -= n;
    }
}

static void read_all(int fd, void *bytes, size_t size) {
    char *at = bytes;
    while (size) {
        ssize_t n = read(fd, at, size);
        if (n <= 0) { perror("read"); exit(1); }
        at += n, size -= n;
    }
}

static size_t put_frame(unsigned char *out, int flags, const unsigned char *body, size_t size) {
    size_t k = 0;
    if (size < 256) {
        out[k++] = flags;
        out[k++] = size;
    } else {
        out[k++] = flags | 2;
        for (int i = 7; i >= 0; i--) out[k++] = (size >> (8 * i)) & 255;
    }
    memcpy(out + k, body, size);
    return k + size;
}

static size_t put_key(unsigned char *out) {
    char key[40];
    int size = sprintf(key, "key:%012d", rand() % keyspace);
    out[0] = 0xc4;
    out[1] = size;
    memcpy(out + 2, key, size);
    return size + 2;
}

static size_t put_request(unsigned char *out) {
    static unsigned char body[OUT_BYTES];
    size_t k = 0;
    if (!strncmp(op, "MULTIGET", 8)) {
        int keys = atoi(op + 8);
        memcpy(body, "\x92\xa8MULTIGET\xdc", 11);
        k = 11;
        body[k++] = keys >> 8;
        body[k++] = keys & 255;
        for (int i = 0; i < keys; i++) k += put_key(body + k);
    } else {
        int set = !strcmp(op, "SET");
        body[k++] = 0x90 | (set ? 3 : 2);
        body[k++] = 0xa3;
        memcpy(body + k, op, 3);
        k += 3;
        k += put_key(body + k);
        if (set) {
            body[k++] = 0xc5;
            body[k++] = value_bytes >> 8;
            body[k++] = value_bytes & 255;
            memcpy(body + k, value, value_bytes);
            k += value_bytes;
        }
    }
    size_t used = put_frame(out, 1, (const unsigned char *)"", 0);
    return used + put_frame(out + used, 0, body, k);
}

static void fire(Connection *c, int count) {
    size_t used = 0;
    double at = now();
    for (int i = 0; i < count && sent < requests; i++) {
        used += put_request(c->out + used);
        sent++;
        c->sent_at[c->head] = at;
        c->head = (c->head + 1) % (pipeline + 1);
        if (used > OUT_BYTES) { write_all(c->fd, c->out, used); used = 0; }
    }
    if (used) write_all(c->fd, c->out, used);
}

static int dial(const char *host, const char *port) {
    int fd, one = 1;
    if (!strcmp(host, "unix")) {
        struct sockaddr_un u = {.sun_family = AF_UNIX};
        strncpy(u.sun_path, port, sizeof u.sun_path - 1);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (void *)&u, sizeof u)) { perror("connect"); exit(1); }
    } else {
        struct sockaddr_in s = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
        inet_pton(AF_INET, host, &s.sin_addr);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&s, sizeof s)) { perror("connect"); exit(1); }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    unsigned char greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'}, theirs[64], head[2], rest[256];
    write_all(fd, greeting, 64);
    read_all(fd, theirs, 64);
    unsigned char ready[] = "\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ";
    write_all(fd, ready, 2 + ready[1]);
    read_all(fd, head, 2);
    read_all(fd, rest, head[1]);
    return fd;
}

static int take_replies(Connection *c) {
    size_t at = 0;
    int taken = 0;
    for (;;) {
        size_t left = c->held - at, header, size = 0;
        if (left < 2) break;
        int flags = c->in[at];
        if (flags & 2) {
            if (left < 9) break;
            for (int q = 0; q < 8; q++) size = size << 8 | c->in[at + 1 + q];
            header = 9;
        } else {
            size = c->in[at + 1];
            header = 2;
        }
        if (left < header + size) break;
        if (!(flags & 5)) { /* last frame of a message, not a command such as a heartbeat */
            const unsigned char *body = c->in + at + header;
            if (size < 4 || memcmp(body + 1, "\xa2OK", 3)) {
                if (!failed++) fprintf(stderr, "first bad reply: %.*s\n", (int)(size < 200 ? size : 200), body);
            }
            latency[answered++] = now() - c->sent_at[c->tail];
            c->tail = (c->tail + 1) % (pipeline + 1);
            taken++;
        }
        at += header + size;
    }
    memmove(c->in, c->in + at, c->held - at);
    c->held -= at;
    return taken;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
    if (argc < 8) { fprintf(stderr, "usage: load HOST PORT OP REQUESTS CONNECTIONS PIPELINE VALUE_BYTES [KEYSPACE]\n"); return 2; }
    srand(getpid()); /* other keys in each run, or what is meant to be cold would not be */
    op = argv[3];
    requests = atoi(argv[4]), connections = atoi(argv[5]), pipeline = atoi(argv[6]), value_bytes = atoi(argv[7]);
    if (argc > 8) keyspace = atoi(argv[8]);
    value = malloc(value_bytes + 1);
    memset(value, 'x', value_bytes);
    latency = malloc(sizeof *latency * requests);
    Connection *all = calloc(connections, sizeof *all);
    int poller = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        Connection *c = &all[i];
        c->fd = dial(argv[1], argv[2]);
        c->in = malloc(IN_BYTES);
        c->out = malloc(2 * OUT_BYTES);
        c->sent_at = malloc(sizeof *c->sent_at * (pipeline + 1));
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
    }
    double start = now();
    for (int i = 0; i < connections; i++) fire(&all[i], pipeline);
    struct epoll_event ready[256];
    while (answered < requests) {
        int n = epoll_wait(poller, ready, 256, 10000);
        if (n == 0) { fprintf(stderr, "no reply for 10 s after %d of %d\n", answered, requests); return 1; }
        for (int j = 0; j < n; j++) {
            Connection *c = ready[j].data.ptr;
            ssize_t got = read(c->fd, c->in + c->held, IN_BYTES - c->held);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) { fprintf(stderr, "connection closed\n"); return 1; }
            c->held += got;
            int taken = take_replies(c);
            if (taken) fire(c, taken);
        }
    }
    double took = now() - start;
    qsort(latency, requests, sizeof *latency, ascending);
    printf("%s connections=%d pipeline=%d requests_per_s=%.0f p50_us=%.0f p99_us=%.0f failed=%d\n", op, connections, pipeline,
           requests / took, latency[requests / 2] * 1e6, latency[(int)(requests * .99)] * 1e6, failed);
    return failed != 0;
}
