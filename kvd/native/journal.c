/* Rows: inserts and reads rows of the journal through prepared statements, and computes and verifies their checksums.
 * The plain form is PlainRows in storage/files/journal.py. It builds a tuple of eleven items for each row, and Python's
 * module binds each of them. (0.9 us to insert a row here, 1.9 there; 0.8 us to read one here, 3.2 there.)
 */
#include "sqlite.h"
#include "sums.h"

enum { HEAD = ROW_FIELDS, CHECKSUM, SEAL, COLUMNS };

/* Inserting */

typedef struct {
    PyObject_HEAD sqlite3 *db;
    sqlite3_stmt *insert, *select;
} Rows;

static int bind_bytes(sqlite3_stmt *insert, int place, PyObject *bytes) {
    if (bytes == Py_None) return lite.bind_null(insert, place);
    return lite.bind_blob64(insert, place, PyBytes_AS_STRING(bytes), (uint64_t)PyBytes_GET_SIZE(bytes),
                            NULL); /* not copied */
}

/* Insert one row; return SQLite's code. The bound bytes are borrowed: the caller clears the bindings before it returns.
 */
static int insert_one(sqlite3_stmt *insert, const Row *row) {
    Sums sums = sums_of(row);
    int code = bind_bytes(insert, KEY + 1, row->key);
    if (code == OK) code = bind_bytes(insert, VALUE + 1, row->value);
    if (code != OK) return code; /* too large; continuing would insert NULL */
    lite.bind_int64(insert, REVISION + 1, row->revision);
    lite.bind_int64(insert, KIND + 1, row->kind);
    lite.bind_int64(insert, PREVIOUS + 1, row->previous);
    lite.bind_int64(insert, CREATED + 1, row->created);
    if (row->expires == STAYS) lite.bind_null(insert, EXPIRES + 1);
    else lite.bind_int64(insert, EXPIRES + 1, row->expires);
    lite.bind_int64(insert, TIME + 1, row->time);
    lite.bind_int64(insert, HEAD + 1, sums.head);
    lite.bind_int64(insert, CHECKSUM + 1, sums.checksum);
    lite.bind_int64(insert, SEAL + 1, sums.seal);
    lite.step(insert);
    return lite.reset(insert); /* returns the code of the step */
}

static PyObject *rows_append(Rows *self, PyObject *rows) {
    if (!self->insert) return PyErr_Format(PyExc_RuntimeError, "the journal is closed");
    if (!PyList_Check(rows)) return PyErr_Format(PyExc_TypeError, "rows must be a list");
    int code = OK;
    Row row;
    for (Py_ssize_t at = 0; code == OK && at < PyList_GET_SIZE(rows); at++) {
        if (row_from(PyList_GET_ITEM(rows, at), &row) < 0) {
            lite.clear_bindings(self->insert);
            return NULL;
        }
        code = insert_one(self->insert, &row);
    }
    PyObject *failure = code == OK ? Py_NewRef(Py_None) : lite_failure(self->db);
    lite.clear_bindings(self->insert);
    return failure;
}

/* Reading */

static PyObject *bytes_in(sqlite3_stmt *select, int at) {
    if (lite.column_type(select, at) == NULL_TYPE) return Py_NewRef(Py_None);
    const void *bytes = lite.column_blob(select, at); /* before column_bytes, as SQLite's documentation requires */
    return PyBytes_FromStringAndSize(bytes, lite.column_bytes(select, at));
}

/* Return whether a row has the right types and checksums, as `is_whole` in storage/files/checksum.py does. */
static int is_whole(sqlite3_stmt *select, const Row *row) {
    for (int at = 0; at < COLUMNS; at++) {
        int type = lite.column_type(select, at);
        int may_be_null = type == NULL_TYPE && ((at == VALUE && row->kind != KIND_SET) || at == EXPIRES);
        if (!may_be_null && type != (at == KEY || at == VALUE ? BLOB_TYPE : INTEGER_TYPE)) return 0;
    }
    if (row->expires == 0) return 0;
    Sums sums = sums_of(row);
    return sums.head == lite.column_int64(select, HEAD) && sums.checksum == lite.column_int64(select, CHECKSUM) &&
           sums.seal == lite.column_int64(select, SEAL);
}

/* Return the statement's current row, None if it is damaged, NULL with an exception. */
static PyObject *row_in(sqlite3_stmt *select) {
    PyObject *tuple = PyTuple_New(ROW_FIELDS);
    for (int at = 0; tuple && at < ROW_FIELDS; at++) {
        PyObject *item;
        if (at == KEY || at == VALUE) item = bytes_in(select, at);
        else if (lite.column_type(select, at) == NULL_TYPE) item = Py_NewRef(Py_None);
        else item = PyLong_FromLongLong(lite.column_int64(select, at));
        if (!item) Py_CLEAR(tuple);
        else PyTuple_SET_ITEM(tuple, at, item);
    }
    Row row;
    if (tuple && (row_from(tuple, &row) < 0 || !is_whole(select, &row))) {
        PyErr_Clear();
        Py_SETREF(tuple, Py_NewRef(Py_None));
    }
    return tuple;
}

static PyObject *rows_between(Rows *self, PyObject *args) {
    long long since, upto;
    Py_ssize_t count_max, bytes_max, size = 0;
    if (!PyArg_ParseTuple(args, "LLnn", &since, &upto, &count_max, &bytes_max)) return NULL;
    if (!self->select) return PyErr_Format(PyExc_RuntimeError, "the journal is closed");
    lite.bind_int64(self->select, 1, since);
    lite.bind_int64(self->select, 2, upto);
    PyObject *rows = PyList_New(0);
    int code = OK;
    while (rows && PyList_GET_SIZE(rows) < count_max && (code = lite.step(self->select)) == ROW) {
        PyObject *row = row_in(self->select);
        if (row && row != Py_None) {
            PyObject *value = PyTuple_GET_ITEM(row, VALUE);
            size += PyBytes_GET_SIZE(PyTuple_GET_ITEM(row, KEY)) + (value == Py_None ? 0 : PyBytes_GET_SIZE(value));
        }
        int is_over = PyList_GET_SIZE(rows) > 0 && size > bytes_max;
        if (!row || (!is_over && PyList_Append(rows, row) < 0)) Py_CLEAR(rows);
        int is_damaged = row == Py_None;
        Py_XDECREF(row);
        if (is_over || is_damaged) break;
    }
    int failed = lite.reset(self->select);
    if (!rows || (failed == OK && (code == OK || code == ROW || code == DONE))) return rows;
    Py_DECREF(rows);
    return lite_failure(self->db);
}

/* The type */

static PyObject *rows_close(Rows *self, PyObject *unused) {
    (void)unused;
    lite.finalize(self->insert); /* ignores NULL */
    lite.finalize(self->select);
    self->insert = self->select = NULL;
    Py_RETURN_NONE;
}

static PyObject *rows_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    PyObject *address;
    const char *insert, *select;
    if (!PyArg_ParseTuple(args, "O!ss", &PyLong_Type, &address, &insert, &select)) return NULL;
    Rows *self = (Rows *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->db = PyLong_AsVoidPtr(address);
    self->insert = lite_prepare(address, insert);
    self->select = self->insert ? lite_prepare(address, select) : NULL;
    if (!self->select) Py_CLEAR(self);
    return (PyObject *)self;
}

static void rows_dealloc(Rows *self) {
    if (self->insert) lite.finalize(self->insert);
    if (self->select) lite.finalize(self->select);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef rows_methods[] = {
    {"append", (PyCFunction)rows_append, METH_O,
     "append(rows): insert rows. Return None, or (code, message) of SQLite's error."},
    {"between", (PyCFunction)rows_between, METH_VARARGS,
     "between(since, upto, count_max, bytes_max): return a list of rows in order. A damaged row is None and ends the list.\n"
     "Return a tuple (code, message) for SQLite's error."},
    {"close", (PyCFunction)rows_close, METH_NOARGS, "Finalize the statements."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject Rows_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kvd.native._native.Rows",
    .tp_basicsize = sizeof(Rows),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Rows(address, insert, select): inserts and reads rows. Close it before the connection.",
    .tp_new = rows_new,
    .tp_dealloc = (destructor)rows_dealloc,
    .tp_methods = rows_methods,
};
