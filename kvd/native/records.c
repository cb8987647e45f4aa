/* Records: what is known of each key. The plain form is PlainKeyCache in storage/memory/key_cache.py. */
#include "records.h"

#include <structmember.h>

enum { OVERHEAD = 150 }; /* bytes: a record, its slots, what malloc adds; in an overlay its key as an object besides */

static PyObject *time_object(int64_t expires) {
    return expires == STAYS ? Py_NewRef(Py_None) : PyLong_FromLongLong(expires);
}

/* Return the entry that a record is, None if it is none, MISSING if there is no record. */
static PyObject *entry_of(Records *self, const Record *record, PyObject *key) {
    if (!record) return Py_NewRef(self->missing);
    if (!record->is_entry) return Py_NewRef(Py_None);
    PyObject *fields[] = {key, PyLong_FromLongLong(record->revision), PyLong_FromLongLong(record->created),
                          time_object(record->expires), record_value(record)};
    PyObject *entry = NULL;
    if (fields[1] && fields[2] && fields[3] && fields[4])
        entry = PyObject_Vectorcall(self->entry_type, fields, 5, NULL);
    for (int at = 1; at < 5; at++) Py_XDECREF(fields[at]);
    return entry;
}

static PyObject *records_get(Records *self, PyObject *key) {
    return is_key(key) ? entry_of(self, records_find(self, key), key) : NULL;
}

static PyObject *records_revision(Records *self, PyObject *key) {
    if (!is_key(key)) return NULL;
    const Record *record = records_peek(self, key);
    return PyLong_FromLongLong(record ? record->revision : -1);
}

/* Find keys given as any sequence; NULL with an exception. The array is the caller's to free, `*list` to release. */
static const Record **found_of(Records *self, PyObject *keys, PyObject **list, Py_ssize_t *hits) {
    if (!(*list = PySequence_List(keys))) return NULL;
    const Record **found = PyMem_Malloc((size_t)Py_MAX(1, PyList_GET_SIZE(*list)) * sizeof *found);
    if (!found) PyErr_NoMemory();
    if (found && (*hits = records_find_many(self, *list, found)) >= 0) return found;
    PyMem_Free(found);
    Py_CLEAR(*list);
    return NULL;
}

static PyObject *records_get_many(Records *self, PyObject *keys) {
    PyObject *list;
    Py_ssize_t hits;
    const Record **found = found_of(self, keys, &list, &hits);
    if (!found) return NULL;
    PyObject *entries = PyList_New(PyList_GET_SIZE(list));
    for (Py_ssize_t at = 0; entries && at < PyList_GET_SIZE(list); at++) {
        PyObject *entry = entry_of(self, found[at], PyList_GET_ITEM(list, at));
        if (!entry) Py_CLEAR(entries);
        else PyList_SET_ITEM(entries, at, entry);
    }
    PyMem_Free(found);
    Py_DECREF(list);
    return entries;
}

static PyObject *records_missing(Records *self, PyObject *keys) {
    PyObject *list, *missing = NULL;
    Py_ssize_t hits;
    const Record **found = found_of(self, keys, &list, &hits);
    if (!found) return NULL;
    self->hits -= hits;
    missing = PyList_New(0);
    for (Py_ssize_t at = 0; missing && hits < PyList_GET_SIZE(list) && at < PyList_GET_SIZE(list); at++)
        if (!found[at] && PyList_Append(missing, PyList_GET_ITEM(list, at)) < 0) Py_CLEAR(missing);
    PyMem_Free(found);
    Py_DECREF(list);
    return missing;
}

/* Write a head of msgpack: a byte for the kind of length, and the length. Returns where the next byte goes.
 * `codes`: of lengths of one byte (0: there are none, as with arrays), of two and of four. */
static char *put_head(char *to, const char codes[3], size_t size) {
    int wide = size > UINT16_MAX ? 4 : size > UINT8_MAX || !codes[0] ? 2 : 1;
    *to++ = codes[wide / 2];
    while (wide--) *to++ = (char)(size >> (8 * wide));
    return to;
}

/* Encode the values of records as msgpack's array of bin and nil. */
static char *put_values(char *to, const Record **found, Py_ssize_t count, int64_t now) {
    if (count < 16) *to++ = (char)(0x90 | count);
    else to = put_head(to, "\0\xdc\xdd", (size_t)count);
    for (Py_ssize_t at = 0; at < count; at++) {
        const Record *record = found[at];
        if (!record->is_entry || !is_live(record->expires, now)) {
            *to++ = (char)0xc0;
            continue;
        }
        to = put_head(to, "\xc4\xc5\xc6", record->value_bytes);
        const char *value = record->large ? PyBytes_AS_STRING(record->large) : record->bytes + record->key_bytes;
        memcpy(to, value, record->value_bytes);
        to += record->value_bytes;
    }
    return to;
}

static PyObject *records_values(Records *self, PyObject *args) {
    PyObject *keys, *list;
    long long now;
    Py_ssize_t bytes_max, hits, size = 0;
    if (!PyArg_ParseTuple(args, "OLn", &keys, &now, &bytes_max)) return NULL;
    const Record **found = found_of(self, keys, &list, &hits);
    if (!found) return NULL;
    Py_ssize_t count = PyList_GET_SIZE(list);
    Py_DECREF(list);
    for (Py_ssize_t at = 0; hits == count && at < count; at++)
        if (found[at]->is_entry && is_live(found[at]->expires, now)) size += found[at]->value_bytes;
    PyObject *values = NULL, *encoded = NULL;
    if (hits < count || size > bytes_max) {
        self->hits -= hits;
        values = Py_NewRef(Py_None);
    } else if ((encoded = PyBytes_FromStringAndSize(NULL, size + 5 * (count + 1)))) {
        char *begin = PyBytes_AS_STRING(encoded), *end = put_values(begin, found, count, now);
        if (_PyBytes_Resize(&encoded, end - begin) == 0) values = PyObject_CallOneArg(self->raw_type, encoded);
    }
    Py_XDECREF(encoded);
    PyMem_Free(found);
    return values;
}

/* Where changes leave what an overlay wants to know, and what they come to: bytes of keys and values, entries more. */
typedef struct {
    long long since;
    PyObject *keys, *existed, *expiring;
    Py_ssize_t payload, more;
} News;

/* Note a key that has not changed since; -1 with an exception. */
static int note_key(News *news, PyObject *key, int existed) {
    Py_ssize_t count = PyByteArray_GET_SIZE(news->existed);
    if (PyList_Append(news->keys, key) < 0 || PyByteArray_Resize(news->existed, count + 1) < 0) return -1;
    PyByteArray_AS_STRING(news->existed)[count] = (char)existed;
    return 0;
}

/* Take in one change; -1 with an exception. */
static int take_in(Records *self, PyObject *tuple, News *news) {
    Row row;
    if (row_from(tuple, &row) < 0) return -1;
    const Record *before = records_peek(self, row.key);
    if ((before ? before->revision : -1) <= news->since && note_key(news, row.key, row.previous != 0) < 0) return -1;
    if (row.expires != STAYS) {
        PyObject *pair = PyTuple_Pack(2, PyTuple_GET_ITEM(tuple, EXPIRES), row.key);
        int failed = !pair || PyList_Append(news->expiring, pair) < 0;
        Py_XDECREF(pair);
        if (failed) return -1;
    }
    int is_set = row.kind == KIND_SET;
    news->payload += PyBytes_GET_SIZE(row.key) + (row.value == Py_None ? 0 : PyBytes_GET_SIZE(row.value));
    news->more += is_set ? row.previous == 0 : -1;
    return records_put(self, row.key, row.revision, is_set ? row.created : 0, is_set ? row.expires : STAYS,
                       is_set && row.value != Py_None ? row.value : NULL);
}

static PyObject *records_update(Records *self, PyObject *args) {
    PyObject *rows;
    News news = {0};
    if (!PyArg_ParseTuple(args, "O!LO!O!O!", &PyList_Type, &rows, &news.since, &PyList_Type, &news.keys,
                          &PyByteArray_Type, &news.existed, &PyList_Type, &news.expiring))
        return NULL;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(rows); at++)
        if (take_in(self, PyList_GET_ITEM(rows, at), &news) < 0) return NULL;
    return Py_BuildValue("nn", news.payload, news.more);
}

/* Take in what the table has of a key; -1 with an exception. */
static int keep(Records *self, PyObject *key, PyObject *entry) {
    if (!is_key(key)) return -1;
    if (records_peek(self, key)) return 0;
    if (entry == Py_None) return records_put(self, key, 0, 0, STAYS, NULL);
    PyObject *revision = PyObject_GetAttrString(entry, "revision"), *created = PyObject_GetAttrString(entry, "created");
    PyObject *expires = PyObject_GetAttrString(entry, "expires"), *value = PyObject_GetAttrString(entry, "value");
    int64_t until = STAYS;
    int failed = !revision || !created || !expires || !value || expires_from(expires, &until) < 0;
    if (!failed && !PyBytes_Check(value)) failed = 1, PyErr_SetString(PyExc_TypeError, "a value is bytes");
    if (!failed)
        failed = records_put(self, key, PyLong_AsLongLong(revision), PyLong_AsLongLong(created), until, value) < 0;
    Py_XDECREF(revision), Py_XDECREF(created), Py_XDECREF(expires), Py_XDECREF(value);
    return failed || PyErr_Occurred() ? -1 : 0;
}

static PyObject *records_keep(Records *self, PyObject *found) {
    PyObject *key, *entry;
    Py_ssize_t at = 0;
    if (!PyDict_Check(found)) return PyErr_SetString(PyExc_TypeError, "what is found is a dict"), NULL;
    while (PyDict_Next(found, &at, &key, &entry))
        if (keep(self, key, entry) < 0) return NULL;
    Py_RETURN_NONE;
}

/* A hand goes round, as in the CLOCK of Corbato (1968): what was not asked for since it came by last is forgotten. */
static PyObject *records_evict(Records *self, PyObject *args) {
    Py_ssize_t bytes_max, tries;
    long long folded;
    if (!PyArg_ParseTuple(args, "nLn", &bytes_max, &folded, &tries)) return NULL;
    while (tries-- > 0 && self->count && records_bytes(self) > bytes_max) {
        Slot *slot = &self->slots[self->hand];
        if (slot->record && !slot->is_warm && slot->record->revision <= folded) {
            records_drop(self, self->hand); /* another may be there now */
        } else {
            slot->is_warm = 0;
            self->hand = (self->hand + 1) & self->mask;
        }
    }
    Py_RETURN_NONE;
}

/* The type */

static PyObject *records_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    PyObject *entry_type, *missing, *raw_type;
    if (!PyArg_ParseTuple(args, "OOO", &entry_type, &missing, &raw_type)) return NULL;
    Records *self = (Records *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->beyond = Py_NewRef(Py_None);
    self->entry_type = Py_NewRef(entry_type), self->missing = Py_NewRef(missing), self->raw_type = Py_NewRef(raw_type);
    if (records_grow(self) < 0) Py_CLEAR(self);
    return (PyObject *)self;
}

static void records_dealloc(Records *self) {
    for (size_t at = 0; self->slots && at <= self->mask; at++) {
        if (!self->slots[at].record) continue;
        Py_XDECREF(self->slots[at].record->large);
        free(self->slots[at].record);
    }
    PyMem_RawFree(self->slots);
    Py_XDECREF(self->beyond);
    Py_XDECREF(self->entry_type), Py_XDECREF(self->missing), Py_XDECREF(self->raw_type);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *records_get_beyond(Records *self, void *closure) {
    (void)closure;
    return Py_NewRef(self->beyond);
}
static int records_set_beyond(Records *self, PyObject *beyond, void *closure) {
    (void)closure;
    if (!beyond || (beyond != Py_None && !PyBytes_Check(beyond)))
        return PyErr_SetString(PyExc_TypeError, "bytes or None"), -1;
    Py_XSETREF(self->beyond, Py_NewRef(beyond));
    return 0;
}
static Py_ssize_t records_length(Records *self) { return (Py_ssize_t)self->count; }
static PyObject *records_size(Records *self, void *closure) {
    (void)closure;
    return PyLong_FromSsize_t(records_bytes(self));
}
static PyObject *records_name(Records *self, void *closure) {
    (void)self, (void)closure;
    return PyUnicode_FromString("compiled");
}
static PyObject *records_overhead(Records *self, void *closure) {
    (void)self, (void)closure;
    return PyLong_FromLong(OVERHEAD);
}

static PyMethodDef records_methods[] = {
    {"get", (PyCFunction)records_get, METH_O, "The entry of a key, None if it has ended or never was, else MISSING."},
    {"get_many", (PyCFunction)records_get_many, METH_O, "What `get` gives of each key."},
    {"uncached", (PyCFunction)records_missing, METH_O, "Those of the keys of which nothing is known."},
    {"revision", (PyCFunction)records_revision, METH_O, "The revision that left what is known of a key, else -1."},
    {"values", (PyCFunction)records_values, METH_VARARGS, "values(keys, now, bytes_max): Raw, or None."},
    {"update", (PyCFunction)records_update, METH_VARARGS,
     "update(rows, since, keys, existed, expiring): (payload, more)."},
    {"insert", (PyCFunction)records_keep, METH_O, "Take in what the table says of keys that are not known."},
    {"evict", (PyCFunction)records_evict, METH_VARARGS, "evict(bytes_max, folded, tries)"},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef records_members[] = {{"hits", T_LONGLONG, offsetof(Records, hits), 0, NULL}, {0}};
static PyGetSetDef records_properties[] = {
    {"size", (getter)records_size, NULL, "Bytes, about.", NULL},
    {"upper_bound", (getter)records_get_beyond, (setter)records_set_beyond,
     "A key from which on all is known, or None.", NULL},
    {"name", (getter)records_name, NULL, NULL, NULL},
    {"overhead", (getter)records_overhead, NULL, "Bytes of a record besides its key and value, about.", NULL},
    {0},
};
static PySequenceMethods records_sequence = {.sq_length = (lenfunc)records_length};

PyTypeObject Records_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kvd.native._core.Records",
    .tp_basicsize = sizeof(Records),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Records(Entry, MISSING, Raw): see kvd.storage.memory.key_cache.",
    .tp_new = records_new,
    .tp_dealloc = (destructor)records_dealloc,
    .tp_methods = records_methods,
    .tp_members = records_members,
    .tp_getset = records_properties,
    .tp_as_sequence = &records_sequence,
};
