/* Rows of the journal, given to SQLite as they are staged and read as they were, checksums and all. The plain form is in
 * storage/journal.py: it makes a tuple of eleven of each row and has the module look at each of its items, 3 us where this
 * takes 1.1; a row read takes 3.2 us there, and 0.8 here.
 *
 * SQLite is the one that Python's module has loaded: its functions are looked up by name. So there are never two libraries on a
 * file, and nothing has to be installed. Source: https://sqlite.org/c3ref/intro.html
 */
#include "core.h"

#include <dlfcn.h>

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
enum { OK = 0, ROW = 100, DONE = 101, PREPARE_PERSISTENT = 1 };
enum { INTEGER_TYPE = 1, BLOB_TYPE = 4, NULL_TYPE = 5 };
enum { HEAD = ROW_FIELDS, CHECKSUM, SEAL, COLUMNS };
typedef int (*entry_point)(sqlite3 *, char **, const void *);

static int (*auto_extension)(entry_point);
static int (*cancel_auto_extension)(entry_point);
static int (*prepare)(sqlite3 *, const char *, int, unsigned, sqlite3_stmt **, const char **);
static int (*finalize)(sqlite3_stmt *);
static int (*step)(sqlite3_stmt *);
static int (*reset)(sqlite3_stmt *);
static int (*bind_null)(sqlite3_stmt *, int);
static int (*bind_int64)(sqlite3_stmt *, int, int64_t);
static int (*bind_blob64)(sqlite3_stmt *, int, const void *, uint64_t, void (*)(void *));
static int (*column_type)(sqlite3_stmt *, int);
static int64_t (*column_int64)(sqlite3_stmt *, int);
static const void *(*column_blob)(sqlite3_stmt *, int);
static int (*column_bytes)(sqlite3_stmt *, int);
static int (*clear_bindings)(sqlite3_stmt *);
static int (*extended_errcode)(sqlite3 *);
static const char *(*errmsg)(sqlite3 *);

const char journal_load_doc[] = "load(path)\n\nUse the SQLite that is loaded with a file. Raises OSError.";

PyObject *journal_load(PyObject *self, PyObject *args) {
    (void)self;
    const char *path;
    if (!PyArg_ParseTuple(args, "s", &path)) return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (!library) return PyErr_Format(PyExc_OSError, "SQLite is not loaded from %s", path);
    struct {
        const char *name;
        void **place;
    } wanted[] = {
        {"sqlite3_auto_extension", (void **)&auto_extension}, {"sqlite3_cancel_auto_extension", (void **)&cancel_auto_extension},
        {"sqlite3_prepare_v3", (void **)&prepare},            {"sqlite3_finalize", (void **)&finalize},
        {"sqlite3_step", (void **)&step},                     {"sqlite3_reset", (void **)&reset},
        {"sqlite3_bind_null", (void **)&bind_null},           {"sqlite3_bind_int64", (void **)&bind_int64},
        {"sqlite3_bind_blob64", (void **)&bind_blob64},       {"sqlite3_clear_bindings", (void **)&clear_bindings},
        {"sqlite3_column_type", (void **)&column_type},       {"sqlite3_column_int64", (void **)&column_int64},
        {"sqlite3_column_blob", (void **)&column_blob},       {"sqlite3_column_bytes", (void **)&column_bytes},
        {"sqlite3_extended_errcode", (void **)&extended_errcode}, {"sqlite3_errmsg", (void **)&errmsg},
    };
    enum { COUNT = sizeof wanted / sizeof *wanted };
    void *found[COUNT];
    for (size_t at = 0; at < COUNT; at++) {
        found[at] = dlsym(library, wanted[at].name);
        if (!found[at]) return PyErr_Format(PyExc_OSError, "there is no %s in %s", wanted[at].name, path);
    }
    for (size_t at = 0; at < COUNT; at++) *wanted[at].place = found[at];
    Py_RETURN_NONE;
}

/* Which connection Python's module has opened: SQLite calls this for each, in the thread that opens it. */
static _Thread_local sqlite3 *opened;
static int note_opened(sqlite3 *db, char **error, const void *routines) {
    (void)error, (void)routines;
    opened = db;
    return OK;
}

const char journal_opened_doc[] = "opened(connect) -> (connection, address)\n\nCall something that opens a connection; tell which one it is in C.";

PyObject *journal_opened(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *connect;
    if (!PyArg_ParseTuple(args, "O", &connect)) return NULL;
    if (!errmsg) return PyErr_Format(PyExc_RuntimeError, "load SQLite first");
    opened = NULL;
    if (auto_extension(note_opened) != OK) return PyErr_NoMemory();
    PyObject *connection = PyObject_CallNoArgs(connect);
    cancel_auto_extension(note_opened);
    if (!connection) return NULL;
    if (!opened) return Py_DECREF(connection), PyErr_Format(PyExc_RuntimeError, "nothing was opened");
    return Py_BuildValue("NN", connection, PyLong_FromVoidPtr(opened));
}

/* Checksums: those of storage/checksum.py, word for word */

static const uint64_t PRIME = 4294967291u;
static uint32_t crc_table[8][256];

static void make_crc_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
        crc_table[0][byte] = crc;
    }
    for (int by = 1; by < 8; by++)
        for (int byte = 0; byte < 256; byte++)
            crc_table[by][byte] = crc_table[by - 1][byte] >> 8 ^ crc_table[0][crc_table[by - 1][byte] & 255];
}

/* CRC-32 as zlib has it, eight bytes at a time (Kounavis and Berry, 2005). */
static uint32_t crc32(uint32_t crc, const unsigned char *bytes, size_t size) {
    crc = ~crc;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint32_t low = crc ^ ((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24);
        crc = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^ crc_table[5][low >> 16 & 255] ^ crc_table[4][low >> 24] ^
              crc_table[3][bytes[4]] ^ crc_table[2][bytes[5]] ^ crc_table[1][bytes[6]] ^ crc_table[0][bytes[7]];
    }
    while (size--) crc = crc >> 8 ^ crc_table[0][(crc ^ *bytes++) & 255];
    return ~crc;
}

static uint32_t crc_of(uint32_t begin, PyObject *bytes) {
    if (bytes == Py_None) return begin;
    return crc32(begin, (const unsigned char *)PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

static int64_t modulo(__int128 sum) { return (int64_t)((sum % PRIME + PRIME) % PRIME); }

typedef struct {
    int64_t head, checksum, seal;
} Sums;

static Sums sums_of(const Row *row) {
    Sums sums;
    __int128 head = (__int128)row->revision * 3 + (__int128)row->created * 5 + (__int128)row->kind * 11;
    head += (__int128)(row->expires == STAYS ? 0 : row->expires) * 7 + (__int128)PyBytes_GET_SIZE(row->key) * 13;
    sums.head = crc_of((uint32_t)modulo(head), row->key);
    sums.checksum = crc_of((uint32_t)sums.head, row->value);
    sums.seal = modulo((__int128)sums.checksum * 3 + (__int128)row->previous * 5 + (__int128)row->time * 7);
    return sums;
}

/* Rows: two prepared statements. Inserting */

typedef struct {
    PyObject_HEAD
    sqlite3 *db;
    sqlite3_stmt *insert, *select;
} Rows;

static void bind_bytes(sqlite3_stmt *insert, int place, PyObject *bytes) {
    if (bytes == Py_None) bind_null(insert, place);
    else bind_blob64(insert, place, PyBytes_AS_STRING(bytes), (uint64_t)PyBytes_GET_SIZE(bytes), NULL); /* not copied */
}

/* Insert one row; return SQLite's code. What is bound is borrowed, and let go before anything else can happen to it. */
static int insert_one(sqlite3_stmt *insert, const Row *row) {
    Sums sums = sums_of(row);
    bind_int64(insert, REVISION + 1, row->revision);
    bind_int64(insert, KIND + 1, row->kind);
    bind_bytes(insert, KEY + 1, row->key);
    bind_bytes(insert, VALUE + 1, row->value);
    bind_int64(insert, PREVIOUS + 1, row->previous);
    bind_int64(insert, CREATED + 1, row->created);
    if (row->expires == STAYS) bind_null(insert, EXPIRES + 1);
    else bind_int64(insert, EXPIRES + 1, row->expires);
    bind_int64(insert, TIME + 1, row->time);
    bind_int64(insert, HEAD + 1, sums.head);
    bind_int64(insert, CHECKSUM + 1, sums.checksum);
    bind_int64(insert, SEAL + 1, sums.seal);
    step(insert);
    return reset(insert); /* the code of the step, too */
}

static PyObject *rows_append(Rows *self, PyObject *rows) {
    if (!self->insert) return PyErr_Format(PyExc_RuntimeError, "the journal is closed");
    if (!PyList_Check(rows)) return PyErr_Format(PyExc_TypeError, "rows are a list");
    int code = OK;
    Row row;
    for (Py_ssize_t at = 0; code == OK && at < PyList_GET_SIZE(rows); at++) {
        if (row_from(PyList_GET_ITEM(rows, at), &row) < 0) return clear_bindings(self->insert), NULL;
        code = insert_one(self->insert, &row);
    }
    clear_bindings(self->insert);
    if (code == OK) Py_RETURN_NONE;
    return Py_BuildValue("is", extended_errcode(self->db), errmsg(self->db));
}

/* Reading */

static PyObject *bytes_in(sqlite3_stmt *select, int at) {
    if (column_type(select, at) == NULL_TYPE) return Py_NewRef(Py_None);
    const void *bytes = column_blob(select, at); /* first, says SQLite */
    return PyBytes_FromStringAndSize(bytes, column_bytes(select, at));
}

/* Return whether a row has the types and the checksums that it should. */
static int is_whole(sqlite3_stmt *select, const Row *row) {
    for (int at = 0; at < COLUMNS; at++) {
        int type = column_type(select, at);
        int may_be_null = type == NULL_TYPE && (at == VALUE || at == EXPIRES);
        if (!may_be_null && type != (at == KEY || at == VALUE ? BLOB_TYPE : INTEGER_TYPE)) return 0;
    }
    Sums sums = sums_of(row);
    return sums.head == column_int64(select, HEAD) && sums.checksum == column_int64(select, CHECKSUM) &&
           sums.seal == column_int64(select, SEAL);
}

/* Return the row that a statement stands on; None if it is not whole; NULL with an exception. */
static PyObject *row_in(sqlite3_stmt *select) {
    PyObject *tuple = PyTuple_New(ROW_FIELDS);
    for (int at = 0; tuple && at < ROW_FIELDS; at++) {
        PyObject *item;
        if (at == KEY || at == VALUE) item = bytes_in(select, at);
        else if (column_type(select, at) == NULL_TYPE) item = Py_NewRef(Py_None);
        else item = PyLong_FromLongLong(column_int64(select, at));
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
    bind_int64(self->select, 1, since), bind_int64(self->select, 2, upto);
    PyObject *rows = PyList_New(0);
    int code = OK;
    while (rows && PyList_GET_SIZE(rows) < count_max && (code = step(self->select)) == ROW) {
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
    int failed = reset(self->select);
    if (!rows || (failed == OK && (code == OK || code == ROW || code == DONE))) return rows;
    Py_DECREF(rows);
    return Py_BuildValue("is", extended_errcode(self->db), errmsg(self->db));
}

/* The type */

static PyObject *rows_close(Rows *self, PyObject *unused) {
    (void)unused;
    finalize(self->insert), finalize(self->select); /* of NULL is nothing */
    self->insert = self->select = NULL;
    Py_RETURN_NONE;
}

static PyObject *rows_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    PyObject *address;
    const char *insert, *select;
    if (!PyArg_ParseTuple(args, "O!ss", &PyLong_Type, &address, &insert, &select)) return NULL;
    if (!errmsg) return PyErr_Format(PyExc_RuntimeError, "load SQLite first");
    Rows *self = (Rows *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->db = PyLong_AsVoidPtr(address);
    make_crc_table();
    if (prepare(self->db, insert, -1, PREPARE_PERSISTENT, &self->insert, NULL) != OK ||
        prepare(self->db, select, -1, PREPARE_PERSISTENT, &self->select, NULL) != OK) {
        PyErr_Format(PyExc_ValueError, "%s", errmsg(self->db));
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void rows_dealloc(Rows *self) {
    if (self->insert) finalize(self->insert);
    if (self->select) finalize(self->select);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef rows_methods[] = {
    {"append", (PyCFunction)rows_append, METH_O, "Insert rows of eight; None, or SQLite's code and sentence of what was wrong."},
    {"between", (PyCFunction)rows_between, METH_VARARGS,
     "between(since, upto, count_max, bytes_max): rows in order, None instead of one that is damaged and nothing after it;\n"
     "or, as a tuple, SQLite's code and sentence of what was wrong."},
    {"close", (PyCFunction)rows_close, METH_NOARGS, "Let the connection go."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject Rows_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kvd.core._core.Rows",
    .tp_basicsize = sizeof(Rows),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Rows(address, insert, select): inserts and reads rows over a connection that is open for longer.",
    .tp_new = rows_new,
    .tp_dealloc = (destructor)rows_dealloc,
    .tp_methods = rows_methods,
};
