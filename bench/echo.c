/* echo: a ROUTER that answers every request with ["OK", 0, nil]: what the transport alone can do.
 *
 *   cc -O2 -o echo echo.c -ldl
 *   echo LIBZMQ ENDPOINT
 *
 * LIBZMQ is the library to load, such as the one in pyzmq's wheel; no headers are needed.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUTER = 6, SNDMORE = 2 };
typedef struct { _Alignas(void *) unsigned char opaque[64]; } message_t;

static void *library;

static void *found(const char *name) {
    void *symbol = dlsym(library, name);
    if (!symbol) exit((fprintf(stderr, "there is no %s\n", name), 1));
    return symbol;
}

int main(int argc, char **argv) {
    if (argc != 3 || !(library = dlopen(argv[1], RTLD_NOW))) return fprintf(stderr, "usage: echo LIBZMQ ENDPOINT\n"), 2;
    void *(*context_new)(void) = found("zmq_ctx_new"), *(*socket_new)(void *, int) = found("zmq_socket");
    int (*bind)(void *, const char *) = found("zmq_bind"), (*init)(message_t *) = found("zmq_msg_init");
    int (*receive)(message_t *, void *, int) = found("zmq_msg_recv"), (*more)(const message_t *) = found("zmq_msg_more");
    int (*send_message)(message_t *, void *, int) = found("zmq_msg_send"), (*close_message)(message_t *) = found("zmq_msg_close");
    int (*send_bytes)(void *, const void *, size_t, int) = found("zmq_send");
    void *router = socket_new(context_new(), ROUTER);
    if (bind(router, argv[2])) return fprintf(stderr, "cannot bind %s\n", argv[2]), 1;
    static const char reply[] = "\x93\xa2OK\x00\xc0";
    for (;;) {
        int is_last = 0;
        while (!is_last) {
            message_t frame;
            init(&frame);
            receive(&frame, router, 0);
            is_last = !more(&frame);
            if (is_last) close_message(&frame);
            else send_message(&frame, router, SNDMORE);
        }
        send_bytes(router, reply, sizeof reply - 1, 0);
    }
}
