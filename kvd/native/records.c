/* Records: the key cache. The plain form is PlainKeyCache in storage/memory/key_cache.py. */
#include "records.h"

#include <structmember.h>

enum { OVERHEAD = 150 }; /* bytes: a record, its slots and malloc's header, and the key object of an overlay */

static PyObject *time_object(int64_t expires) {
    return expires == STAYS ? Py_NewRef(Py_None) : PyLong_FromLongLong(expires);
}

/* Return the entry of a record, None for an absent key, NOT_CACHED if there is no record. */
static PyObject *entry_of(Records *self, const Record *record, PyObject *key) {
    if (!record) return Py_NewRef(self->not_cached);
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

/* Look up the keys of a sequence. The caller frees the returned array and releases `*list`. Return NULL with an
 * exception. */
static const Record **peek_sequence(Records *self, PyObject *keys, PyObject **list, Py_ssize_t *cached) {
    if (!(*list = PySequence_List(keys))) return NULL;
    const Record **found = PyMem_Malloc((size_t)Py_MAX(1, PyList_GET_SIZE(*list)) * sizeof *found);
    if (!found) PyErr_NoMemory();
    if (found && (*cached = records_peek_many(self, *list, found)) >= 0) return found;
    PyMem_Free(found);
    Py_CLEAR(*list);
    return NULL;
}

static PyObject *entries_of(Records *self, PyObject *keys, int is_hit) {
    PyObject *list;
    Py_ssize_t cached;
    const Record **found = peek_sequence(self, keys, &list, &cached);
    if (!found) return NULL;
    if (is_hit) self->hits += cached;
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

static PyObject *records_get_many(Records *self, PyObject *keys) { return entries_of(self, keys, 1); }

static PyObject *records_peek_entries(Records *self, PyObject *keys) { return entries_of(self, keys, 0); }

static PyObject *records_uncached(Records *self, PyObject *keys) {
    PyObject *list;
    Py_ssize_t cached;
    const Record **found = peek_sequence(self, keys, &list, &cached);
    if (!found) return NULL;
    PyObject *uncached = PyList_New(0);
    for (Py_ssize_t at = 0; uncached && cached < PyList_GET_SIZE(list) && at < PyList_GET_SIZE(list); at++)
        if (!found[at] && PyList_Append(uncached, PyList_GET_ITEM(list, at)) < 0) Py_CLEAR(uncached);
    PyMem_Free(found);
    Py_DECREF(list);
    return uncached;
}

/* Write a header of msgpack: a byte for the width of the length, and the length. Return the position of the next byte.
 * `codes` has the bytes for lengths of one (0: not available), two and four bytes. */
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
    Py_ssize_t bytes_max, cached, size = 0;
    if (!PyArg_ParseTuple(args, "OLn", &keys, &now, &bytes_max)) return NULL;
    const Record **found = peek_sequence(self, keys, &list, &cached);
    if (!found) return NULL;
    Py_ssize_t count = PyList_GET_SIZE(list);
    Py_DECREF(list);
    for (Py_ssize_t at = 0; cached == count && at < count; at++)
        if (found[at]->is_entry && is_live(found[at]->expires, now)) size += found[at]->value_bytes;
    PyObject *values = NULL, *encoded = NULL;
    if (cached < count || size > bytes_max) {
        values = Py_NewRef(Py_None);
    } else if ((encoded = PyBytes_FromStringAndSize(NULL, size + 5 * (count + 1)))) {
        self->hits += count;
        char *begin = PyBytes_AS_STRING(encoded), *end = put_values(begin, found, count, now);
        if (_PyBytes_Resize(&encoded, end - begin) == 0) values = PyObject_CallOneArg(self->raw_type, encoded);
    }
    Py_XDECREF(encoded);
    PyMem_Free(found);
    return values;
}

/* The lists of an overlay that an update extends, and the update's totals: bytes of keys and values, net new entries.
 */
typedef struct {
    long long since;
    PyObject *keys, *existed, *expiring;
    Py_ssize_t payload, more;
} Update;

/* Append a key that has not changed since. Return 0, or -1 with an exception. */
static int note_key(Update *update, PyObject *key, int existed) {
    Py_ssize_t count = PyByteArray_GET_SIZE(update->existed);
    if (PyList_Append(update->keys, key) < 0 || PyByteArray_Resize(update->existed, count + 1) < 0) return -1;
    PyByteArray_AS_STRING(update->existed)[count] = (char)existed;
    return 0;
}

/* Apply one change. Return 0, or -1 with an exception. */
static int apply_change(Records *self, PyObject *tuple, Update *update) {
    Row row;
    if (row_from(tuple, &row) < 0) return -1;
    const Record *before = records_peek(self, row.key);
    if ((before ? before->revision : -1) <= update->since && note_key(update, row.key, row.previous != 0) < 0)
        return -1;
    if (row.expires != STAYS) {
        PyObject *pair = PyTuple_Pack(2, PyTuple_GET_ITEM(tuple, EXPIRES), row.key);
        int failed = !pair || PyList_Append(update->expiring, pair) < 0;
        Py_XDECREF(pair);
        if (failed) return -1;
    }
    int is_set = row.kind == KIND_SET;
    update->payload += PyBytes_GET_SIZE(row.key) + (row.value == Py_None ? 0 : PyBytes_GET_SIZE(row.value));
    update->more += is_set ? row.previous == 0 : -1;
    return records_put(self, row.key, row.revision, is_set ? row.created : 0, is_set ? row.expires : STAYS,
                       is_set && row.value != Py_None ? row.value : NULL);
}

static PyObject *records_update(Records *self, PyObject *args) {
    PyObject *rows;
    Update update = {0};
    if (!PyArg_ParseTuple(args, "O!LO!O!O!", &PyList_Type, &rows, &update.since, &PyList_Type, &update.keys,
                          &PyByteArray_Type, &update.existed, &PyList_Type, &update.expiring))
        return NULL;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(rows); at++)
        if (apply_change(self, PyList_GET_ITEM(rows, at), &update) < 0) return NULL;
    return Py_BuildValue("nn", update.payload, update.more);
}

/* Insert an entry of the table. Return 0, or -1 with an exception. */
static int insert_one(Records *self, PyObject *key, PyObject *entry) {
    if (!is_key(key)) return -1;
    if (records_peek(self, key)) return 0;
    if (entry == Py_None) return records_put(self, key, 0, 0, STAYS, NULL);
    PyObject *revision = PyObject_GetAttrString(entry, "revision"), *created = PyObject_GetAttrString(entry, "created");
    PyObject *expires = PyObject_GetAttrString(entry, "expires"), *value = PyObject_GetAttrString(entry, "value");
    int64_t until = STAYS;
    int failed = !revision || !created || !expires || !value || expires_from(expires, &until) < 0;
    if (!failed && !PyBytes_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "a value must be bytes");
        failed = 1;
    }
    if (!failed)
        failed = records_put(self, key, PyLong_AsLongLong(revision), PyLong_AsLongLong(created), until, value) < 0;
    Py_XDECREF(revision);
    Py_XDECREF(created);
    Py_XDECREF(expires);
    Py_XDECREF(value);
    return failed || PyErr_Occurred() ? -1 : 0;
}

static PyObject *records_insert(Records *self, PyObject *entries) {
    PyObject *key, *entry;
    Py_ssize_t at = 0;
    if (!PyDict_Check(entries)) return PyErr_Format(PyExc_TypeError, "entries must be a dict");
    while (PyDict_Next(entries, &at, &key, &entry))
        if (insert_one(self, key, entry) < 0) return NULL;
    Py_RETURN_NONE;
}

/* Eviction by CLOCK (Corbato, 1968): the hand evicts each folded record that was not read since its last pass. */
static PyObject *records_evict(Records *self, PyObject *args) {
    Py_ssize_t bytes_max, tries;
    long long folded;
    if (!PyArg_ParseTuple(args, "nLn", &bytes_max, &folded, &tries)) return NULL;
    while (tries-- > 0 && self->count && records_bytes(self) > bytes_max) {
        Slot *slot = &self->slots[self->hand];
        if (slot->record && !slot->is_warm && slot->record->revision <= folded) {
            records_drop(self, self->hand); /* may move another record into the slot */
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
    PyObject *entry_type, *not_cached, *raw_type;
    if (!PyArg_ParseTuple(args, "OOO", &entry_type, &not_cached, &raw_type)) return NULL;
    Records *self = (Records *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->upper_bound = Py_NewRef(Py_None);
    self->entry_type = Py_NewRef(entry_type);
    self->not_cached = Py_NewRef(not_cached);
    self->raw_type = Py_NewRef(raw_type);
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
    Py_XDECREF(self->upper_bound);
    Py_XDECREF(self->entry_type);
    Py_XDECREF(self->not_cached);
    Py_XDECREF(self->raw_type);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *records_upper_bound(Records *self, void *closure) {
    (void)closure;
    return Py_NewRef(self->upper_bound);
}
static PyObject *records_set_upper_bound(Records *self, PyObject *bound) {
    if (bound != Py_None && !PyBytes_Check(bound))
        return PyErr_Format(PyExc_TypeError, "an upper bound must be bytes or None");
    Py_XSETREF(self->upper_bound, Py_NewRef(bound));
    Py_RETURN_NONE;
}
static Py_ssize_t records_length(Records *self) { return (Py_ssize_t)self->count; }
static PyObject *records_size(Records *self, void *closure) {
    (void)closure;
    return PyLong_FromSsize_t(records_bytes(self));
}
static PyObject *records_name(Records *self, void *closure) {
    (void)self;
    (void)closure;
    return PyUnicode_FromString("compiled");
}
static PyObject *records_overhead(Records *self, void *closure) {
    (void)self;
    (void)closure;
    return PyLong_FromLong(OVERHEAD);
}

static PyMethodDef records_methods[] = {
    {"get", (PyCFunction)records_get, METH_O,
     "get(key): the entry of a key, None if it has none, NOT_CACHED if the table must be read."},
    {"get_many", (PyCFunction)records_get_many, METH_O, "get_many(keys): what `get` returns for each key."},
    {"peek_many", (PyCFunction)records_peek_entries, METH_O, "peek_many(keys): `get_many` without counting hits."},
    {"find_uncached", (PyCFunction)records_uncached, METH_O, "find_uncached(keys): the keys that are not cached."},
    {"revision", (PyCFunction)records_revision, METH_O,
     "revision(key): the revision of its last change, -1 if it is not cached."},
    {"values", (PyCFunction)records_values, METH_VARARGS,
     "values(keys, now, bytes_max): the live values as Raw, or None."},
    {"update", (PyCFunction)records_update, METH_VARARGS,
     "update(rows, since, keys, existed, expiring): (payload, more)."},
    {"insert", (PyCFunction)records_insert, METH_O, "insert(entries): insert entries of the table by key."},
    {"evict", (PyCFunction)records_evict, METH_VARARGS, "evict(bytes_max, folded, tries)"},
    {"set_upper_bound", (PyCFunction)records_set_upper_bound, METH_O, "set_upper_bound(bound): bytes, or None."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef records_members[] = {{"hits", T_LONGLONG, offsetof(Records, hits), READONLY, NULL}, {0}};
static PyGetSetDef records_properties[] = {
    {"size", (getter)records_size, NULL, "The approximate memory in bytes.", NULL},
    {"upper_bound", (getter)records_upper_bound, NULL, "The exclusive upper bound of the table's keys, or None.", NULL},
    {"name", (getter)records_name, NULL, NULL, NULL},
    {"overhead", (getter)records_overhead, NULL, "Approximate bytes of a record without its key and value.", NULL},
    {0},
};
static PySequenceMethods records_sequence = {.sq_length = (lenfunc)records_length};

PyTypeObject Records_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kvd.native._native.Records",
    .tp_basicsize = sizeof(Records),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Records(Entry, NOT_CACHED, Raw): see kvd.storage.memory.key_cache.",
    .tp_new = records_new,
    .tp_dealloc = (destructor)records_dealloc,
    .tp_methods = records_methods,
    .tp_members = records_members,
    .tp_getset = records_properties,
    .tp_as_sequence = &records_sequence,
};
