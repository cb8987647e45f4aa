/* Table: reads entries of the table into the key cache. The plain form is `get_many` in storage/files/table.py, which
 * creates tuples and objects. (A random key among a million takes 2.7 us here, 4.1 there.)
 */
#include "records.h"
#include "sqlite.h"
#include "sums.h"

enum { KEY_AT, VALUE_AT, REVISION_AT, CREATED_AT, EXPIRES_AT, HEAD_AT, CHECKSUM_AT, COLUMNS_HERE };

typedef struct {
    PyObject_HEAD sqlite3 *db;
    sqlite3_stmt *select;
} Table;

/* The outcome of a read. A large value stays on disk. The plain form reads a damaged row again to raise its error. */
typedef enum { READ, LARGE, DAMAGED, FAILED } Outcome;

/* Insert the statement's current row. */
static Outcome insert_row(Table *self, Records *records, PyObject *key, int large_bytes) {
    for (int at = 0; at < COLUMNS_HERE; at++) {
        int type = lite.column_type(self->select, at);
        if (type != (at == KEY_AT || at == VALUE_AT ? BLOB_TYPE : INTEGER_TYPE) &&
            !(at == EXPIRES_AT && type == NULL_TYPE))
            return DAMAGED;
    }
    int size = lite.column_bytes(self->select, VALUE_AT);
    if (size > large_bytes) return LARGE;
    PyObject *value = PyBytes_FromStringAndSize(lite.column_blob(self->select, VALUE_AT), size);
    if (!value) return FAILED;
    Row row = {.revision = lite.column_int64(self->select, REVISION_AT),
               .kind = KIND_SET,
               .created = lite.column_int64(self->select, CREATED_AT),
               .expires = STAYS,
               .key = key,
               .value = value};
    if (lite.column_type(self->select, EXPIRES_AT) != NULL_TYPE)
        row.expires = lite.column_int64(self->select, EXPIRES_AT);
    Sums sums = sums_of(&row);
    Outcome outcome = READ;
    if (row.expires == 0 || sums.head != lite.column_int64(self->select, HEAD_AT) ||
        sums.checksum != lite.column_int64(self->select, CHECKSUM_AT))
        outcome = DAMAGED;
    else if (records_put(records, key, row.revision, row.created, row.expires, value) < 0) outcome = FAILED;
    Py_DECREF(value);
    return outcome;
}

/* Read one key, and insert its entry or its absence. */
static Outcome read_one(Table *self, Records *records, PyObject *key, int large_bytes) {
    lite.bind_blob64(self->select, 1, PyBytes_AS_STRING(key), (uint64_t)PyBytes_GET_SIZE(key), NULL);
    int code = lite.step(self->select);
    Outcome outcome = DAMAGED;
    if (code == ROW) outcome = insert_row(self, records, key, large_bytes);
    else if (code == DONE) outcome = records_put(records, key, 0, 0, STAYS, NULL) < 0 ? FAILED : READ;
    lite.reset(self->select);
    return outcome;
}

static PyObject *table_read(Table *self, PyObject *args) {
    PyObject *keys;
    Records *records;
    int large_bytes;
    if (!PyArg_ParseTuple(args, "O!O!i", &PyList_Type, &keys, &Records_type, &records, &large_bytes)) return NULL;
    if (!self->select) return PyErr_Format(PyExc_RuntimeError, "the table is closed");
    Outcome outcome = READ;
    for (Py_ssize_t at = 0; outcome != FAILED && outcome != DAMAGED && at < PyList_GET_SIZE(keys); at++) {
        PyObject *key = PyList_GET_ITEM(keys, at);
        if (!is_key(key)) outcome = FAILED;
        else if (!records_peek(records, key)) outcome = read_one(self, records, key, large_bytes);
    }
    lite.clear_bindings(self->select);
    return outcome == FAILED ? NULL : PyBool_FromLong(outcome != DAMAGED);
}

static PyObject *table_close(Table *self, PyObject *unused) {
    (void)unused;
    lite.finalize(self->select); /* ignores NULL */
    self->select = NULL;
    Py_RETURN_NONE;
}

static PyObject *table_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    PyObject *address;
    const char *select;
    if (!PyArg_ParseTuple(args, "O!s", &PyLong_Type, &address, &select)) return NULL;
    Table *self = (Table *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->select = lite_prepare(address, select);
    if (!self->select) Py_CLEAR(self);
    return (PyObject *)self;
}

static void table_dealloc(Table *self) {
    if (self->select) lite.finalize(self->select);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef table_methods[] = {
    {"read", (PyCFunction)table_read, METH_VARARGS,
     "read(keys, records, large_bytes): insert the entries of keys, except values of more than large_bytes.\n"
     "Return False when a row is damaged."},
    {"close", (PyCFunction)table_close, METH_NOARGS, "Finalize the statement."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject Table_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kvd.native._native.Table",
    .tp_basicsize = sizeof(Table),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Table(address, select): reads entries. Close it before the connection.",
    .tp_new = table_new,
    .tp_dealloc = (destructor)table_dealloc,
    .tp_methods = table_methods,
};
