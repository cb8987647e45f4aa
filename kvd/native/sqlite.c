/* Finding SQLite's functions, and which connection one of Python's module is. */
#include "sqlite.h"

#include <dlfcn.h>

Lite lite;

const char load_doc[] = "load(path)\n\nUse the SQLite that is loaded with a file. Raises OSError.";

PyObject *load(PyObject *self, PyObject *args) {
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
    void *found[COUNT];
    for (size_t at = 0; at < COUNT; at++) {
        char name[64];
        snprintf(name, sizeof name, "sqlite3_%s", names[at]);
        found[at] = dlsym(library, name);
        if (!found[at]) return PyErr_Format(PyExc_OSError, "there is no %s in %s", name, path);
    }
    memcpy(&lite, found, sizeof lite);
    Py_RETURN_NONE;
}

/* Which connection Python's module has opened: SQLite calls this for each, in the thread that opens it, from the first
 * time that it was asked to (again is nothing new to it). */
static _Thread_local sqlite3 *last_opened;
static int note_opened(sqlite3 *db, char **error, const void *routines) {
    (void)error, (void)routines;
    last_opened = db;
    return OK;
}

const char opened_doc[] =
    "opened(connect) -> (connection, address)\n\nCall what opens a connection; tell which one it is in C.";

PyObject *opened(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *connect;
    if (!PyArg_ParseTuple(args, "O", &connect)) return NULL;
    if (!lite.errmsg) return PyErr_Format(PyExc_RuntimeError, "load SQLite first");
    last_opened = NULL;
    if (lite.auto_extension(note_opened) != OK) return PyErr_NoMemory();
    PyObject *connection = PyObject_CallNoArgs(connect);
    if (!connection) return NULL;
    if (!last_opened) return Py_DECREF(connection), PyErr_Format(PyExc_RuntimeError, "nothing was opened");
    return Py_BuildValue("NN", connection, PyLong_FromVoidPtr(last_opened));
}

PyObject *lite_failure(sqlite3 *db) { return Py_BuildValue("is", lite.extended_errcode(db), lite.errmsg(db)); }

sqlite3_stmt *lite_prepare(PyObject *address, const char *sql) {
    if (!lite.errmsg) return PyErr_SetString(PyExc_RuntimeError, "load SQLite first"), NULL;
    sqlite3 *db = PyLong_AsVoidPtr(address);
    sqlite3_stmt *statement = NULL;
    if (!db && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "no connection is there");
    if (db && lite.prepare(db, sql, -1, PREPARE_PERSISTENT, &statement, NULL) != OK)
        PyErr_SetString(PyExc_ValueError, lite.errmsg(db));
    return statement;
}
