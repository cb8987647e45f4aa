/* Looks up SQLite's functions, and the address of a connection that Python's module has opened. */
#include "sqlite.h"

#include <dlfcn.h>

Lite lite;

const char load_sqlite_doc[] = "load(path)\n\nUse the SQLite that is loaded from a file. Raises OSError.";

PyObject *load_sqlite(PyObject *self, PyObject *args) {
    (void)self;
    const char *path;
    if (!PyArg_ParseTuple(args, "s", &path)) return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (!library) return PyErr_Format(PyExc_OSError, "SQLite is not loaded from %s", path);
    const char *names[] = {
        /* in the order of Lite */
        "auto_extension", "prepare_v3",       "finalize",       "step",        "reset",        "bind_null",
        "bind_int64",     "bind_blob64",      "clear_bindings", "column_type", "column_int64", "column_blob",
        "column_bytes",   "extended_errcode", "errmsg",
    };
    enum { COUNT = sizeof names / sizeof *names };
    _Static_assert(sizeof lite == COUNT * sizeof(void *), "a name for each function");
    void *functions[COUNT];
    for (size_t at = 0; at < COUNT; at++) {
        char name[64];
        snprintf(name, sizeof name, "sqlite3_%s", names[at]);
        functions[at] = dlsym(library, name);
        if (!functions[at]) return PyErr_Format(PyExc_OSError, "%s has no function %s", path, name);
    }
    memcpy(&lite, functions, sizeof lite);
    Py_RETURN_NONE;
}

/* SQLite calls this automatic extension for each new connection, in the thread that opens it. Registering it again has
 * no effect. */
static _Thread_local sqlite3 *last_opened;
static int on_opened(sqlite3 *db, char **error, const void *routines) {
    (void)error;
    (void)routines;
    last_opened = db;
    return OK;
}

const char connect_sqlite_doc[] =
    "connect(open) -> (connection, address)\n\nCall a function that opens a connection, and return its address too.";

PyObject *connect_sqlite(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *open;
    if (!PyArg_ParseTuple(args, "O", &open)) return NULL;
    if (!lite.errmsg) return PyErr_Format(PyExc_RuntimeError, "load SQLite first");
    last_opened = NULL;
    if (lite.auto_extension(on_opened) != OK) return PyErr_NoMemory();
    PyObject *connection = PyObject_CallNoArgs(open);
    if (!connection) return NULL;
    if (!last_opened) {
        Py_DECREF(connection);
        return PyErr_Format(PyExc_RuntimeError, "the function opened no connection");
    }
    return Py_BuildValue("NN", connection, PyLong_FromVoidPtr(last_opened));
}

PyObject *lite_failure(sqlite3 *db) { return Py_BuildValue("is", lite.extended_errcode(db), lite.errmsg(db)); }

sqlite3_stmt *lite_prepare(PyObject *address, const char *sql) {
    if (!lite.errmsg) {
        PyErr_SetString(PyExc_RuntimeError, "load SQLite first");
        return NULL;
    }
    sqlite3 *db = PyLong_AsVoidPtr(address);
    sqlite3_stmt *statement = NULL;
    if (!db && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "the address of the connection is 0");
    if (db && lite.prepare(db, sql, -1, PREPARE_PERSISTENT, &statement, NULL) != OK)
        PyErr_SetString(PyExc_ValueError, lite.errmsg(db));
    return statement;
}
