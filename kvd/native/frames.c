/* Frames: receives and sends many ZeroMQ messages in one call. The plain form is PlainFrames in
 * server/sockets/frames.py. A request and its reply have six frames. (A frame costs 0.08 us here, 0.35 there.)
 *
 * No call blocks, so the GIL is held. The functions of the libzmq that pyzmq has loaded are looked up by name, so
 * nothing must be linked or installed. Sources: https://docs.python.org/3/c-api/, http://api.zeromq.org/4-3:_start
 */
#include "core.h"

#include <dlfcn.h>
#include <errno.h>

enum { DONTWAIT = 1, SNDMORE = 2 };

typedef struct {
    _Alignas(void *) unsigned char opaque[64];
} message_t; /* zmq_msg_t of zmq.h; its size is part of libzmq's ABI */

static int (*msg_init)(message_t *);
static int (*msg_recv)(message_t *, void *, int);
static int (*msg_close)(message_t *);
static void *(*msg_data)(message_t *);
static size_t (*msg_size)(const message_t *);
static int (*msg_more)(const message_t *);
static const char *(*msg_gets)(const message_t *, const char *);
static int (*send_bytes)(void *, const void *, size_t, int);
static int (*last_error)(void);

PyDoc_STRVAR(load_doc, "load_zmq(path)\n\nUse the libzmq that is loaded from a file. Raises OSError.");

static PyObject *load(PyObject *self, PyObject *args) {
    (void)self;
    const char *path;
    if (!PyArg_ParseTuple(args, "s", &path)) return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (!library) return PyErr_Format(PyExc_OSError, "libzmq is not loaded from %s", path);
    struct {
        const char *name;
        void **place;
    } symbols[] = {
        {"zmq_msg_init", (void **)&msg_init},   {"zmq_msg_recv", (void **)&msg_recv},
        {"zmq_msg_close", (void **)&msg_close}, {"zmq_msg_data", (void **)&msg_data},
        {"zmq_msg_size", (void **)&msg_size},   {"zmq_msg_more", (void **)&msg_more},
        {"zmq_msg_gets", (void **)&msg_gets},   {"zmq_send", (void **)&send_bytes},
        {"zmq_errno", (void **)&last_error},
    };
    enum { COUNT = sizeof symbols / sizeof *symbols };
    void *functions[COUNT];
    for (size_t at = 0; at < COUNT; at++) {
        functions[at] = dlsym(library, symbols[at].name);
        if (!functions[at]) return PyErr_Format(PyExc_OSError, "%s has no function %s", path, symbols[at].name);
    }
    for (size_t at = 0; at < COUNT; at++) *symbols[at].place = functions[at];
    Py_RETURN_NONE;
}

/* Return the socket at an address. Return NULL with an exception, also before `load_zmq`. */
static void *socket_at(PyObject *address) {
    if (!last_error) return PyErr_Format(PyExc_RuntimeError, "load libzmq first");
    return PyLong_AsVoidPtr(address);
}

/* Set an OSError for libzmq's last error; return NULL. */
static PyObject *raise_last(void) {
    errno = last_error();
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* Append the contents of a message to a list. Return 0, or -1 with an exception. */
static int append_frame(PyObject *frames, message_t *message) {
    PyObject *frame = PyBytes_FromStringAndSize(msg_data(message), (Py_ssize_t)msg_size(message));
    int failed = !frame || PyList_Append(frames, frame) < 0;
    Py_XDECREF(frame);
    return failed ? -1 : 0;
}

/* Return at most `frames_max` frames of the next message, NULL without an exception when there is none. If `user` is
 * not NULL, it receives the user id of the last frame, which may be empty. */
static PyObject *next_frames(void *socket, Py_ssize_t frames_max, PyObject **user) {
    PyObject *frames = NULL;
    int more = 1, failed = 0;
    while (more && !failed) {
        message_t message;
        msg_init(&message);
        int size = msg_recv(&message, socket, DONTWAIT);
        while (size < 0 && last_error() == EINTR) size = msg_recv(&message, socket, DONTWAIT);
        if (size < 0) {
            msg_close(&message);
            if (!frames && last_error() == EAGAIN) return NULL;
            Py_XDECREF(frames);
            return raise_last();
        }
        more = msg_more(&message);
        if (!frames) failed = !(frames = PyList_New(0));
        if (!failed && PyList_GET_SIZE(frames) < frames_max) failed = append_frame(frames, &message);
        if (!failed && !more && user) {
            const char *id = msg_gets(&message, "User-Id");
            failed = !(*user = PyUnicode_FromString(id ? id : ""));
        }
        msg_close(&message);
    }
    if (failed) Py_CLEAR(frames);
    return frames;
}

/* Return (envelope, body) or (envelope, body, user) if the frames are an identity, an envelope, an empty frame and a
 * body, else NULL. */
static PyObject *as_request(PyObject *frames, PyObject *user) {
    Py_ssize_t count = PyList_GET_SIZE(frames);
    for (Py_ssize_t at = 1; at < count - 1; at++) {
        if (PyBytes_GET_SIZE(PyList_GET_ITEM(frames, at)) > 0) continue;
        if (at != count - 2) return NULL;
        PyObject *body = Py_NewRef(PyList_GET_ITEM(frames, count - 1));
        PyObject *request = NULL;
        if (PyList_SetSlice(frames, count - 1, count, NULL) == 0)
            request = user ? PyTuple_Pack(3, frames, body, user) : PyTuple_Pack(2, frames, body);
        Py_DECREF(body);
        return request;
    }
    return NULL;
}

PyDoc_STRVAR(receive_doc,
             "receive(socket, count_max, bytes_max, frames_max, with_users) -> (requests, others)\n\n"
             "Receive the available messages, up to count_max of them or bytes_max bytes of their last frames.\n"
             "A request is (frames up to the empty one, body), or (frames, body, user id) with with_users.\n"
             "The others are lists of at most frames_max frames.\n"
             "Raises OSError.");

static PyObject *receive(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *address, *requests = PyList_New(0), *others = PyList_New(0);
    Py_ssize_t count_max, bytes_max, frames_max, size = 0;
    int with_users;
    if (!requests || !others ||
        !PyArg_ParseTuple(args, "Onnnp", &address, &count_max, &bytes_max, &frames_max, &with_users))
        goto end;
    void *socket = socket_at(address);
    while (!PyErr_Occurred() && count_max-- > 0 && size < bytes_max) {
        PyObject *user = NULL, *frames = next_frames(socket, frames_max, with_users ? &user : NULL);
        if (!frames) break;
        size += PyBytes_GET_SIZE(PyList_GET_ITEM(frames, PyList_GET_SIZE(frames) - 1));
        PyObject *request = PyList_GET_SIZE(frames) < frames_max ? as_request(frames, user) : NULL;
        if (!PyErr_Occurred()) PyList_Append(request ? requests : others, request ? request : frames);
        Py_XDECREF(request);
        Py_XDECREF(user);
        Py_DECREF(frames);
    }
end:;
    PyObject *both = PyErr_Occurred() ? NULL : PyTuple_Pack(2, requests, others);
    Py_XDECREF(requests);
    Py_XDECREF(others);
    return both;
}

/* Send frames and a body as one message. Return 0, 1 when the peer is gone or its queue is full, -1 with an exception.
 */
static int send_one(void *socket, PyObject *envelope, PyObject *body) {
    for (Py_ssize_t at = 0; at <= PyList_GET_SIZE(envelope); at++) {
        int is_last = at == PyList_GET_SIZE(envelope);
        PyObject *frame = is_last ? body : PyList_GET_ITEM(envelope, at);
        char *data;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(frame, &data, &size) < 0) return -1;
        int flags = (is_last ? 0 : SNDMORE) | (at ? 0 : DONTWAIT);
        int sent = send_bytes(socket, data, (size_t)size, flags);
        while (sent < 0 && last_error() == EINTR) sent = send_bytes(socket, data, (size_t)size, flags);
        if (sent >= 0) continue;
        if (last_error() == EHOSTUNREACH || last_error() == EAGAIN) return 1;
        raise_last();
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(
    send_doc,
    "send(socket, requests, bodies) -> int\n\n"
    "Send each body that is not None with the frames of its request. Return the number of replies that were dropped\n"
    "because their peer is gone or its queue is full. Raises OSError.");

static PyObject *send(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *address, *requests, *bodies;
    long dropped = 0;
    if (!PyArg_ParseTuple(args, "OO!O!", &address, &PyList_Type, &requests, &PyList_Type, &bodies)) return NULL;
    void *socket = socket_at(address);
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(requests) && !PyErr_Occurred(); at++) {
        PyObject *request = PyList_GET_ITEM(requests, at), *body = PyList_GetItem(bodies, at), *envelope;
        if (!body || body == Py_None) continue;
        if (!PyTuple_Check(request) || !PyTuple_GET_SIZE(request) ||
            !PyList_Check(envelope = PyTuple_GET_ITEM(request, 0)))
            return PyErr_Format(PyExc_TypeError, "a request must be a tuple that begins with a list of frames");
        dropped += send_one(socket, envelope, body) > 0;
    }
    return PyErr_Occurred() ? NULL : PyLong_FromLong(dropped);
}

/* Send a frame. Return 0, or -1 with an exception. */
static int send_frame(void *socket, PyObject *frame, int flags) {
    char *data;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(frame, &data, &size) < 0) return -1;
    while (send_bytes(socket, data, (size_t)size, flags) < 0) {
        if (last_error() == EINTR) continue;
        raise_last();
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(
    publish_doc,
    "publish(socket, topics, bodies)\n\nSend each topic with its body over a socket that never blocks, such as an XPUB. Raises OSError.");

static PyObject *publish(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *address, *topics, *bodies;
    if (!PyArg_ParseTuple(args, "OO!O!", &address, &PyList_Type, &topics, &PyList_Type, &bodies)) return NULL;
    void *socket = socket_at(address);
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(topics) && !PyErr_Occurred(); at++) {
        PyObject *body = PyList_GetItem(bodies, at);
        if (body && send_frame(socket, PyList_GET_ITEM(topics, at), SNDMORE | DONTWAIT) == 0)
            send_frame(socket, body, DONTWAIT);
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

PyMethodDef frames_methods[] = {
    {"load_zmq", load, METH_VARARGS, load_doc},
    {"receive", receive, METH_VARARGS, receive_doc},
    {"send", send, METH_VARARGS, send_doc},
    {"publish", publish, METH_VARARGS, publish_doc},
    {NULL, NULL, 0, NULL},
};
