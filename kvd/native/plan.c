/* Plan: the net changes that a fold applies to the table, in key order. The key cache has the net change of each key;
 * the plain form, NET in storage/maintenance/fold.py, reads and sorts all changes of the journal in SQL.
 * (0.5 us a key here, 1.2 us a change there.)
 *
 * The loop's thread creates a plan when a fold begins. The fold thread uses it without the GIL, so it touches only the
 * plan's own data.
 */
#include "records.h"
#include "sqlite.h"

typedef struct {
    uint64_t order; /* the key's first eight bytes after the common prefix: decides most comparisons */
    PyObject *key;  /* borrowed from `keys` */
    int64_t revision;
    uint32_t bytes;
    int8_t is_entry, more, expires;
} Step;

typedef struct {
    PyObject_HEAD PyObject *keys; /* a tuple */
    Step *steps;
    Py_ssize_t count;
} Plan;

static int in_order(const void *first, const void *second) {
    const Step *a = first, *b = second;
    if (a->order != b->order) return a->order < b->order ? -1 : 1;
    size_t a_bytes = (size_t)PyBytes_GET_SIZE(a->key), b_bytes = (size_t)PyBytes_GET_SIZE(b->key);
    int order = memcmp(PyBytes_AS_STRING(a->key), PyBytes_AS_STRING(b->key), Py_MIN(a_bytes, b_bytes));
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

/* Return the length of the common prefix of all keys. */
static size_t shared_bytes(const Step *steps, Py_ssize_t count) {
    size_t shared = count ? (size_t)PyBytes_GET_SIZE(steps[0].key) : 0;
    for (Py_ssize_t at = 1; at < count && shared; at++) {
        const char *first = PyBytes_AS_STRING(steps[0].key), *key = PyBytes_AS_STRING(steps[at].key);
        size_t same_max = Py_MIN(shared, (size_t)PyBytes_GET_SIZE(steps[at].key)), same = 0;
        while (same < same_max && first[same] == key[same]) same++;
        shared = same;
    }
    return shared;
}

static void sort(Step *steps, Py_ssize_t count) {
    size_t shared = shared_bytes(steps, count);
    for (Py_ssize_t at = 0; at < count; at++) {
        size_t size = (size_t)PyBytes_GET_SIZE(steps[at].key);
        for (size_t byte = shared; byte < shared + 8; byte++)
            steps[at].order =
                steps[at].order << 8 | (byte < size ? (unsigned char)PyBytes_AS_STRING(steps[at].key)[byte] : 0);
    }
    qsort(steps, (size_t)count, sizeof *steps, in_order);
}

/* Insert all steps; return SQLite's code. */
static int insert_all(const Plan *self, sqlite3_stmt *insert) {
    int code = OK;
    for (Py_ssize_t at = 0; code == OK && at < self->count; at++) {
        const Step *step = &self->steps[at];
        lite.bind_int64(insert, 1, step->revision);
        lite.bind_int64(insert, 2, step->is_entry ? KIND_SET : KIND_SET + 1);
        lite.bind_int64(insert, 3, step->more);
        lite.bind_int64(insert, 4, step->bytes);
        lite.bind_int64(insert, 5, step->expires);
        lite.step(insert);
        code = lite.reset(insert);
    }
    return code;
}

static PyObject *plan_fill(Plan *self, PyObject *args) {
    PyObject *address;
    const char *sql;
    int code;
    if (!PyArg_ParseTuple(args, "O!s", &PyLong_Type, &address, &sql)) return NULL;
    sqlite3_stmt *insert = lite_prepare(address, sql);
    if (!insert) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    sort(self->steps, self->count);
    code = insert_all(self, insert);
    lite.finalize(insert);
    Py_END_ALLOW_THREADS;
    return code == OK ? Py_NewRef(Py_None) : lite_failure(PyLong_AsVoidPtr(address));
}

/* Copy the record of each key into the steps. Return 0, or -1 with an exception. */
static int copy_records(Plan *self, Records *records, PyObject *list, const char *existed) {
    const Record **found = PyMem_Malloc((size_t)Py_MAX(1, self->count) * sizeof *found);
    int failed = !found || records_peek_many(records, list, found) < self->count;
    for (Py_ssize_t at = 0; !failed && at < self->count; at++) {
        const Record *record = found[at];
        self->steps[at] = (Step){.key = PyTuple_GET_ITEM(self->keys, at),
                                 .revision = record->revision,
                                 .bytes = record->key_bytes + record->value_bytes,
                                 .is_entry = (int8_t)record->is_entry,
                                 .more = (int8_t)(record->is_entry - !!existed[at]),
                                 .expires = record->expires != STAYS};
    }
    PyMem_Free(found);
    if (failed && !PyErr_Occurred()) PyErr_SetString(PyExc_KeyError, "a key of an overlay is not in the key cache");
    return failed ? -1 : 0;
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    Records *records;
    PyObject *list, *existed;
    if (!PyArg_ParseTuple(args, "O!O!O!", &Records_type, &records, &PyList_Type, &list, &PyByteArray_Type, &existed))
        return NULL;
    if (PyByteArray_GET_SIZE(existed) != PyList_GET_SIZE(list))
        return PyErr_Format(PyExc_ValueError, "existed must have one flag for each key");
    Plan *self = (Plan *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->keys = PyList_AsTuple(list);
    self->count = PyList_GET_SIZE(list);
    self->steps = PyMem_RawCalloc((size_t)Py_MAX(1, self->count), sizeof *self->steps);
    if (!self->keys || !self->steps || copy_records(self, records, list, PyByteArray_AS_STRING(existed)) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void plan_dealloc(Plan *self) {
    Py_XDECREF(self->keys);
    PyMem_RawFree(self->steps);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef plan_methods[] = {
    {"fill", (PyCFunction)plan_fill, METH_VARARGS,
     "fill(address, sql): run an INSERT of revision, kind, more, bytes and expires (0 or 1) for each key, in key order.\n"
     "Return None, or (code, message) of SQLite's error."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject Plan_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kvd.native._native.Plan",
    .tp_basicsize = sizeof(Plan),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc =
        "Plan(records, keys, existed): the net change of each key. existed has a flag for each key that had an entry before.",
    .tp_new = plan_new,
    .tp_dealloc = (destructor)plan_dealloc,
    .tp_methods = plan_methods,
};
