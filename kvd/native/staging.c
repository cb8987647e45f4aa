/* Staging: the common cases of `value` and `put`. The other cases call the plain form, `Staging` in engine/staging.py.
 */
#include "records.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD long long revision, now, bytes;
    long long bytes_max, overhead;
    PyObject *rows, *last; /* the list of all rows, and the dict of each key's last row */
    Records *records;
} Staging;

/* The state of a key before a change. */
typedef struct {
    int is_cached, is_entry;
    int64_t revision, created, expires;
} Before;

/* Find the state of a key without reading the disk. Return 0, or -1 with an exception. */
static int find_before(Staging *self, PyObject *key, Before *before) {
    PyObject *tuple = PyDict_GetItemWithError(self->last, key);
    if (tuple) {
        Row row;
        if (row_from(tuple, &row) < 0) return -1;
        *before = (Before){1, row.kind == KIND_SET, row.revision, row.created, row.expires};
        return 0;
    }
    if (PyErr_Occurred()) return -1;
    const Record *record = records_find(self->records, key);
    *before = record ? (Before){1, record->is_entry, record->revision, record->created, record->expires} : (Before){0};
    return 0;
}

/* Stage a row; return its revision, NULL with an exception. Steals the reference to `revision`. */
static PyObject *stage(Staging *self, PyObject *revision, PyObject *key, PyObject *value, PyObject *expires,
                       const Before *before) {
    PyObject *row = PyTuple_New(ROW_FIELDS);
    if (!row || !revision) goto failed;
    PyTuple_SET_ITEM(row, REVISION, Py_NewRef(revision));
    PyTuple_SET_ITEM(row, KIND, PyLong_FromLong(KIND_SET));
    PyTuple_SET_ITEM(row, KEY, Py_NewRef(key));
    PyTuple_SET_ITEM(row, VALUE, Py_NewRef(value));
    PyTuple_SET_ITEM(row, PREVIOUS, PyLong_FromLongLong(before->is_entry ? before->revision : 0));
    PyTuple_SET_ITEM(row, CREATED, before->is_entry ? PyLong_FromLongLong(before->created) : Py_NewRef(revision));
    PyTuple_SET_ITEM(row, EXPIRES, Py_NewRef(expires));
    PyTuple_SET_ITEM(row, TIME, PyLong_FromLongLong(self->now));
    if (PyErr_Occurred() || PyDict_SetItem(self->last, key, row) < 0 || PyList_Append(self->rows, row) < 0) goto failed;
    Py_DECREF(row);
    return revision;
failed:
    Py_XDECREF(row);
    Py_XDECREF(revision);
    return NULL;
}

static PyObject *put_plainly(Staging *self, PyObject *key, PyObject *value, PyObject *expires) {
    return PyObject_CallMethod((PyObject *)self, "put_plainly", "OOO", key, value, expires);
}

/* Set a key to a value; return the revision, NULL with an exception. */
static PyObject *put_one(Staging *self, PyObject *key, PyObject *value, PyObject *expires) {
    Before before;
    if (!PyBytes_CheckExact(key) || !PyBytes_CheckExact(value) || PyBytes_GET_SIZE(key) > UINT16_MAX)
        return put_plainly(self, key, value, expires);
    long long size = self->overhead + PyBytes_GET_SIZE(key) + PyBytes_GET_SIZE(value);
    if (self->bytes + size > self->bytes_max) return put_plainly(self, key, value, expires);
    if (find_before(self, key, &before) < 0) return NULL;
    if (!before.is_cached || (before.is_entry && !is_live(before.expires, self->now)))
        return put_plainly(self, key, value, expires);
    self->bytes += size;
    return stage(self, PyLong_FromLongLong(++self->revision), key, value, expires, &before);
}

static PyObject *staging_put(Staging *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    if (count != 2 || !names || PyTuple_GET_SIZE(names) != 1 ||
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "expires"))
        return PyErr_Format(PyExc_TypeError, "put takes (key, value, *, expires)");
    return put_one(self, args[0], args[1], args[2]);
}

static PyObject *staging_put_many(Staging *self, PyObject *pairs) {
    PyObject *list = PySequence_List(pairs);
    for (Py_ssize_t at = 0; list && at < PyList_GET_SIZE(list); at++) {
        PyObject *pair = PyList_GET_ITEM(list, at), *revision = NULL;
        if (PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2)
            revision = put_one(self, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1), Py_None);
        else PyErr_SetString(PyExc_TypeError, "a pair must be a tuple of two");
        if (!revision) Py_CLEAR(list);
        Py_XDECREF(revision);
    }
    Py_XDECREF(list);
    return list ? Py_NewRef(Py_None) : NULL;
}

static PyObject *staging_value(Staging *self, PyObject *key) {
    const Record *record = NULL;
    if (PyBytes_CheckExact(key) && PyBytes_GET_SIZE(key) <= UINT16_MAX && !PyDict_Contains(self->last, key))
        record = records_find(self->records, key);
    if (!record) return PyErr_Occurred() ? NULL : PyObject_CallMethod((PyObject *)self, "value_plainly", "O", key);
    return record->is_entry && is_live(record->expires, self->now) ? record_value(record) : Py_NewRef(Py_None);
}

static int staging_init(Staging *self, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    Records *records;
    if (!PyArg_ParseTuple(args, "O!LL", &Records_type, &records, &self->bytes_max, &self->overhead)) return -1;
    Py_XSETREF(self->records, (Records *)Py_NewRef((PyObject *)records));
    Py_XSETREF(self->rows, PyList_New(0));
    Py_XSETREF(self->last, PyDict_New());
    return self->rows && self->last ? 0 : -1;
}

static int staging_traverse(Staging *self, visitproc visit, void *arg) {
    Py_VISIT(self->rows);
    Py_VISIT(self->last);
    Py_VISIT(self->records);
    return 0;
}

static int staging_clear(Staging *self) {
    Py_CLEAR(self->rows);
    Py_CLEAR(self->last);
    Py_CLEAR(self->records);
    return 0;
}

static void staging_dealloc(Staging *self) {
    PyObject_GC_UnTrack(self);
    staging_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int set_object(PyObject **place, PyObject *value, PyTypeObject *type) {
    if (!value || !PyObject_TypeCheck(value, type)) {
        PyErr_Format(PyExc_TypeError, "the attribute must be a %s", type->tp_name);
        return -1;
    }
    Py_XSETREF(*place, Py_NewRef(value));
    return 0;
}
static PyObject *get_rows(Staging *self, void *closure) {
    (void)closure;
    return Py_NewRef(self->rows);
}
static PyObject *get_last(Staging *self, void *closure) {
    (void)closure;
    return Py_NewRef(self->last);
}
static int set_rows(Staging *self, PyObject *value, void *closure) {
    (void)closure;
    return set_object(&self->rows, value, &PyList_Type);
}
static int set_last(Staging *self, PyObject *value, void *closure) {
    (void)closure;
    return set_object(&self->last, value, &PyDict_Type);
}
static int set_records(Staging *self, PyObject *value, void *closure) {
    (void)closure;
    return set_object((PyObject **)&self->records, value, &Records_type);
}

static PyMethodDef staging_methods[] = {
    {"put", (PyCFunction)(void (*)(void))staging_put, METH_FASTCALL | METH_KEYWORDS,
     "put(key, value, *, expires): stage a SET and return its revision."},
    {"put_many", (PyCFunction)staging_put_many, METH_O, "put_many(pairs): stage SETs without an expiry."},
    {"value", (PyCFunction)staging_value, METH_O, "value(key): the live value of a key, or None."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef staging_members[] = {
    {"revision", T_LONGLONG, offsetof(Staging, revision), 0, NULL},
    {"now", T_LONGLONG, offsetof(Staging, now), 0, NULL},
    {"bytes", T_LONGLONG, offsetof(Staging, bytes), 0, NULL},
    {0},
};
static PyGetSetDef staging_properties[] = {
    {"rows", (getter)get_rows, (setter)set_rows, NULL, NULL},
    {"last", (getter)get_last, (setter)set_last, NULL, NULL},
    {"key_cache", NULL, (setter)set_records, NULL, NULL},
    {0},
};

PyTypeObject Staging_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kvd.native._native.Staging",
    .tp_basicsize = sizeof(Staging),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Staging(records, bytes_max, overhead): the base of kvd.engine.staging.CompiledStaging.",
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)staging_init,
    .tp_traverse = (traverseproc)staging_traverse,
    .tp_clear = (inquiry)staging_clear,
    .tp_dealloc = (destructor)staging_dealloc,
    .tp_methods = staging_methods,
    .tp_members = staging_members,
    .tp_getset = staging_properties,
};
