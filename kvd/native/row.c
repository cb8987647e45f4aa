/* Rows of the journal and their fields. */
#include "core.h"

int is_key(PyObject *key) {
    if (PyBytes_CheckExact(key) && PyBytes_GET_SIZE(key) <= UINT16_MAX) return 1;
    PyErr_SetString(PyExc_TypeError, "a key must be bytes of at most 65535");
    return 0;
}

int expires_from(PyObject *object, int64_t *expires) {
    if (object == Py_None) {
        *expires = STAYS;
        return 0;
    }
    *expires = PyLong_AsLongLong(object);
    return *expires == -1 && PyErr_Occurred() ? -1 : 0;
}

int row_from(PyObject *tuple, Row *row) {
    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != ROW_FIELDS) {
        PyErr_SetString(PyExc_TypeError, "a row must be a tuple of eight");
        return -1;
    }
    row->key = PyTuple_GET_ITEM(tuple, KEY);
    row->value = PyTuple_GET_ITEM(tuple, VALUE);
    row->revision = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, REVISION));
    row->kind = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, KIND));
    row->previous = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, PREVIOUS));
    row->created = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, CREATED));
    row->time = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, TIME));
    if (expires_from(PyTuple_GET_ITEM(tuple, EXPIRES), &row->expires) < 0 || PyErr_Occurred()) return -1;
    if (!is_key(row->key)) return -1;
    if (row->value != Py_None && !PyBytes_Check(row->value)) {
        PyErr_SetString(PyExc_TypeError, "a value must be bytes");
        return -1;
    }
    return 0;
}
