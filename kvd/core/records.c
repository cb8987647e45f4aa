/* Records: what is known of each key, in one piece each. The plain form is PlainRecords in storage/records.py. */
#include "core.h"

#include <malloc.h>
#include <structmember.h>

enum {
    SLOTS_MIN = 1024,
    LARGE_BYTES = 1024, /* values from here on are shared, not copied */
    AHEAD = 64,         /* keys whose places are fetched before the first is looked at */
    OVERHEAD = 150,     /* a record, its slots, what malloc adds; in an overlay its key as an object besides */
};

/* Records and slots */

static size_t inline_bytes(const Record *record) { return record->large ? 0 : record->value_bytes; }

/* What a record takes: a multiple of 16, malloc's own head among it, and a value that it shares. */
static Py_ssize_t weight(const Record *record) {
    size_t own = sizeof *record + record->key_bytes + inline_bytes(record);
    return (Py_ssize_t)(((own + 8 + 15) & ~(size_t)15) + (record->large ? record->value_bytes : 0));
}

static int has_key(const Record *record, const char *key, size_t size) {
    return record->key_bytes == size && !memcmp(record->bytes, key, size);
}

/* Return the slot of a key, or the free one where it would be. */
static Slot *slot_of(const Records *self, const char *key, size_t size, uint32_t hash) {
    size_t at = hash & self->mask;
    for (;; at = (at + 1) & self->mask) {
        Slot *slot = &self->slots[at];
        if (!slot->record || (slot->hash == hash && has_key(slot->record, key, size))) return slot;
    }
}

static int is_key(PyObject *key) {
    if (PyBytes_Check(key) && PyBytes_GET_SIZE(key) <= UINT16_MAX) return 1;
    PyErr_SetString(PyExc_TypeError, "a key is bytes, and not many");
    return 0;
}

/* Python's hash of bytes: SipHash, so no client can choose keys that collide; kept in the object. */
static uint32_t hash_of(PyObject *key) { return (uint32_t)PyObject_Hash(key); }

static Slot *slot_for(const Records *self, PyObject *key) {
    return slot_of(self, PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key), hash_of(key));
}

/* Make room for one more; -1 with an exception when there is no memory. */
static int grow(Records *self) {
    size_t room = self->mask + 1;
    if (self->slots && (self->count + 1) * 3 <= room * 2) return 0;
    size_t wanted = self->slots ? room * 2 : SLOTS_MIN;
    Slot *slots = PyMem_RawCalloc(wanted, sizeof *slots);
    if (!slots) return PyErr_NoMemory(), -1;
    for (size_t at = 0; self->slots && at < room; at++) {
        if (!self->slots[at].record) continue;
        size_t to = self->slots[at].hash & (wanted - 1);
        while (slots[to].record) to = (to + 1) & (wanted - 1);
        slots[to] = self->slots[at];
    }
    PyMem_RawFree(self->slots);
    self->slots = slots, self->mask = wanted - 1, self->hand = 0;
    return 0;
}

/* Free a slot, and move those behind it that would not be found any more. */
static void drop(Records *self, size_t at) {
    Record *record = self->slots[at].record;
    self->bytes -= weight(record);
    self->count--;
    Py_XDECREF(record->large);
    free(record);
    for (size_t next = (at + 1) & self->mask; self->slots[next].record; next = (next + 1) & self->mask) {
        size_t home = self->slots[next].hash & self->mask;
        if (((next - home) & self->mask) < ((next - at) & self->mask)) continue;
        self->slots[at] = self->slots[next];
        at = next;
    }
    self->slots[at] = (Slot){0};
}

/* Write what is known of a key into its slot; -1 with an exception when there is no memory. */
static int put(Records *self, PyObject *key, int64_t revision, int64_t created, int64_t expires, PyObject *value) {
    if (grow(self) < 0) return -1;
    Slot *slot = slot_for(self, key);
    size_t key_bytes = (size_t)PyBytes_GET_SIZE(key), value_bytes = value ? (size_t)PyBytes_GET_SIZE(value) : 0;
    int is_large = value_bytes >= LARGE_BYTES;
    if (slot->record) {
        self->bytes -= weight(slot->record);
        Py_CLEAR(slot->record->large);
    }
    Record *record = realloc(slot->record, sizeof *record + key_bytes + (is_large ? 0 : value_bytes));
    if (!record) Py_FatalError("kvd: no memory for a record"); /* a change is durable already: there is no way back */
    if (!slot->record) {
        self->count++, slot->hash = hash_of(key);
        memcpy(record->bytes, PyBytes_AS_STRING(key), key_bytes);
    }
    record->revision = revision, record->created = created, record->expires = expires;
    record->key_bytes = (uint16_t)key_bytes, record->value_bytes = (uint32_t)value_bytes;
    record->is_entry = value != NULL;
    record->large = is_large ? Py_NewRef(value) : NULL;
    if (value && !is_large) memcpy(record->bytes + key_bytes, PyBytes_AS_STRING(value), value_bytes);
    slot->record = record, slot->is_warm = 1;
    self->bytes += weight(record);
    return 0;
}

PyObject *record_value(const Record *record) {
    if (record->large) return Py_NewRef(record->large);
    return PyBytes_FromStringAndSize(record->bytes + record->key_bytes, record->value_bytes);
}

/* What is known of a key of which there is no record, but which is beyond all that the table has. */
static const Record nothing = {.expires = STAYS};

static int is_beyond(const Records *self, PyObject *key) {
    if (self->beyond == Py_None) return 0;
    size_t size = (size_t)PyBytes_GET_SIZE(key), least = (size_t)PyBytes_GET_SIZE(self->beyond);
    int order = memcmp(PyBytes_AS_STRING(key), PyBytes_AS_STRING(self->beyond), Py_MIN(size, least));
    return order > 0 || (order == 0 && size >= least);
}

/* Return what is known of a key that belongs into a slot. */
static const Record *found_in(const Records *self, Slot *slot, PyObject *key) {
    if (!slot->record) return is_beyond(self, key) ? &nothing : NULL;
    slot->is_warm = 1;
    return slot->record;
}

const Record *records_find(Records *self, PyObject *key) {
    const Record *found = found_in(self, slot_for(self, key), key);
    self->hits += found != NULL;
    return found;
}

/* Places and records are fetched together before they are looked at: 100 keys at random among 100,000 take 4 us, not 12. */
Py_ssize_t records_find_many(Records *self, PyObject *keys, const Record **found) {
    Py_ssize_t count = PyList_GET_SIZE(keys), hits = 0;
    Slot *slots[AHEAD];
    for (Py_ssize_t begin = 0; begin < count; begin += AHEAD) {
        Py_ssize_t some = Py_MIN(AHEAD, count - begin);
        for (Py_ssize_t at = 0; at < some; at++) {
            PyObject *key = PyList_GET_ITEM(keys, begin + at);
            if (!is_key(key)) return -1;
            __builtin_prefetch(&self->slots[hash_of(key) & self->mask]);
        }
        for (Py_ssize_t at = 0; at < some; at++) { /* a slot with this hash is most likely it */
            uint32_t hash = hash_of(PyList_GET_ITEM(keys, begin + at));
            size_t place = hash & self->mask;
            while (self->slots[place].record && self->slots[place].hash != hash) place = (place + 1) & self->mask;
            slots[at] = &self->slots[place];
            const char *record = (const char *)slots[at]->record;
            __builtin_prefetch(record), __builtin_prefetch(record + 64), __builtin_prefetch(record + 128);
        }
        for (Py_ssize_t at = 0; at < some; at++) {
            PyObject *key = PyList_GET_ITEM(keys, begin + at);
            Slot *slot = slots[at];
            if (slot->record && !has_key(slot->record, PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key)))
                slot = slot_for(self, key);
            found[begin + at] = found_in(self, slot, key);
            hits += found[begin + at] != NULL;
        }
    }
    self->hits += hits;
    return hits;
}

/* The methods */

static PyObject *time_object(int64_t expires) { return expires == STAYS ? Py_NewRef(Py_None) : PyLong_FromLongLong(expires); }

/* Return the entry that a record is, None if it is none, MISSING if there is no record. */
static PyObject *entry_of(Records *self, const Record *record, PyObject *key) {
    if (!record) return Py_NewRef(self->missing);
    if (!record->is_entry) return Py_NewRef(Py_None);
    PyObject *fields[] = {key, PyLong_FromLongLong(record->revision), PyLong_FromLongLong(record->created),
                          time_object(record->expires), record_value(record)};
    PyObject *entry = NULL;
    if (fields[1] && fields[2] && fields[3] && fields[4]) entry = PyObject_Vectorcall(self->entry_type, fields, 5, NULL);
    for (int at = 1; at < 5; at++) Py_XDECREF(fields[at]);
    return entry;
}

static PyObject *records_get(Records *self, PyObject *key) {
    return is_key(key) ? entry_of(self, records_find(self, key), key) : NULL;
}

static PyObject *records_revision(Records *self, PyObject *key) {
    if (!is_key(key)) return NULL;
    const Record *record = slot_for(self, key)->record;
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

int expires_from(PyObject *object, int64_t *expires) {
    if (object == Py_None) return *expires = STAYS, 0;
    *expires = PyLong_AsLongLong(object);
    return *expires == -1 && PyErr_Occurred() ? -1 : 0;
}

int row_from(PyObject *tuple, Row *row) {
    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != ROW_FIELDS)
        return PyErr_SetString(PyExc_TypeError, "a row is a tuple of eight"), -1;
    row->key = PyTuple_GET_ITEM(tuple, KEY), row->value = PyTuple_GET_ITEM(tuple, VALUE);
    row->revision = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, REVISION));
    row->kind = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, KIND));
    row->previous = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, PREVIOUS));
    row->created = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, CREATED));
    row->time = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, TIME));
    if (expires_from(PyTuple_GET_ITEM(tuple, EXPIRES), &row->expires) < 0 || PyErr_Occurred()) return -1;
    if (!is_key(row->key)) return -1;
    if (row->value != Py_None && !PyBytes_Check(row->value)) return PyErr_SetString(PyExc_TypeError, "a value is bytes"), -1;
    return 0;
}

/* Where changes leave what an overlay wants to know. */
typedef struct {
    long long since;
    PyObject *keys, *existed, *expiring;
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
    const Record *before = slot_for(self, row.key)->record;
    if ((before ? before->revision : -1) <= news->since && note_key(news, row.key, row.previous != 0) < 0) return -1;
    if (row.expires != STAYS) {
        PyObject *pair = PyTuple_Pack(2, PyTuple_GET_ITEM(tuple, EXPIRES), row.key);
        int failed = !pair || PyList_Append(news->expiring, pair) < 0;
        Py_XDECREF(pair);
        if (failed) return -1;
    }
    int is_set = row.kind == KIND_SET;
    return put(self, row.key, row.revision, is_set ? row.created : 0, is_set ? row.expires : STAYS,
               is_set && row.value != Py_None ? row.value : NULL);
}

static PyObject *records_update(Records *self, PyObject *args) {
    PyObject *rows;
    News news;
    Py_ssize_t payload = 0, more = 0;
    if (!PyArg_ParseTuple(args, "O!LO!O!O!", &PyList_Type, &rows, &news.since, &PyList_Type, &news.keys, &PyByteArray_Type,
                          &news.existed, &PyList_Type, &news.expiring))
        return NULL;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(rows); at++) {
        PyObject *row = PyList_GET_ITEM(rows, at);
        if (take_in(self, row, &news) < 0) return NULL;
        PyObject *value = PyTuple_GET_ITEM(row, VALUE);
        payload += PyBytes_GET_SIZE(PyTuple_GET_ITEM(row, KEY)) + (value == Py_None ? 0 : PyBytes_GET_SIZE(value));
        int is_set = PyLong_AsLong(PyTuple_GET_ITEM(row, KIND)) == KIND_SET;
        more += is_set ? !PyObject_IsTrue(PyTuple_GET_ITEM(row, PREVIOUS)) : -1;
    }
    return Py_BuildValue("nn", payload, more);
}

/* Take in what the table has of a key; -1 with an exception. */
static int keep(Records *self, PyObject *key, PyObject *entry) {
    if (!is_key(key)) return -1;
    if (self->slots && slot_for(self, key)->record) return 0;
    if (entry == Py_None) return put(self, key, 0, 0, STAYS, NULL);
    PyObject *revision = PyObject_GetAttrString(entry, "revision"), *created = PyObject_GetAttrString(entry, "created");
    PyObject *expires = PyObject_GetAttrString(entry, "expires"), *value = PyObject_GetAttrString(entry, "value");
    int64_t until = STAYS;
    int failed = !revision || !created || !expires || !value || expires_from(expires, &until) < 0;
    if (!failed && !PyBytes_Check(value)) failed = 1, PyErr_SetString(PyExc_TypeError, "a value is bytes");
    if (!failed) failed = put(self, key, PyLong_AsLongLong(revision), PyLong_AsLongLong(created), until, value) < 0;
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

static Py_ssize_t size_of(const Records *self) { return self->bytes + (Py_ssize_t)((self->mask + 1) * sizeof(Slot)); }

/* A hand goes round, as in the CLOCK of Corbato (1968): what was not asked for since it came by last is forgotten. */
static PyObject *records_evict(Records *self, PyObject *args) {
    Py_ssize_t bytes_max, tries;
    long long folded;
    if (!PyArg_ParseTuple(args, "nLn", &bytes_max, &folded, &tries)) return NULL;
    while (tries-- > 0 && self->count && size_of(self) > bytes_max) {
        Slot *slot = &self->slots[self->hand];
        if (slot->record && !slot->is_warm && slot->record->revision <= folded) {
            drop(self, self->hand); /* another may be there now */
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
    if (grow(self) < 0) Py_CLEAR(self);
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

static PyObject *records_get_beyond(Records *self, void *closure) { (void)closure; return Py_NewRef(self->beyond); }
static int records_set_beyond(Records *self, PyObject *beyond, void *closure) {
    (void)closure;
    if (!beyond || (beyond != Py_None && !PyBytes_Check(beyond))) return PyErr_SetString(PyExc_TypeError, "bytes or None"), -1;
    Py_XSETREF(self->beyond, Py_NewRef(beyond));
    return 0;
}
static Py_ssize_t records_length(Records *self) { return (Py_ssize_t)self->count; }
static PyObject *records_size(Records *self, void *closure) { (void)closure; return PyLong_FromSsize_t(size_of(self)); }
static PyObject *records_name(Records *self, void *closure) { (void)self, (void)closure; return PyUnicode_FromString("compiled"); }
static PyObject *records_overhead(Records *self, void *closure) { (void)self, (void)closure; return PyLong_FromLong(OVERHEAD); }

static PyMethodDef records_methods[] = {
    {"get", (PyCFunction)records_get, METH_O, "The entry of a key, None if it has ended or never was, else MISSING."},
    {"get_many", (PyCFunction)records_get_many, METH_O, "What `get` gives of each key."},
    {"missing", (PyCFunction)records_missing, METH_O, "Those of the keys of which nothing is known."},
    {"revision", (PyCFunction)records_revision, METH_O, "The revision that left what is known of a key, else -1."},
    {"values", (PyCFunction)records_values, METH_VARARGS, "values(keys, now, bytes_max): Raw, or None."},
    {"update", (PyCFunction)records_update, METH_VARARGS, "update(rows, since, keys, existed, expiring): (payload, more)."},
    {"keep", (PyCFunction)records_keep, METH_O, "Take in what the table says of keys that are not known."},
    {"evict", (PyCFunction)records_evict, METH_VARARGS, "evict(bytes_max, folded, tries)"},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef records_members[] = {{"hits", T_LONGLONG, offsetof(Records, hits), 0, NULL}, {0}};
static PyGetSetDef records_properties[] = {
    {"size", (getter)records_size, NULL, "Bytes, about.", NULL},
    {"beyond", (getter)records_get_beyond, (setter)records_set_beyond, "A key from which on all is known, or None.", NULL},
    {"name", (getter)records_name, NULL, NULL, NULL},
    {"overhead", (getter)records_overhead, NULL, "Bytes of a record besides its key and value, about.", NULL},
    {0},
};
static PySequenceMethods records_sequence = {.sq_length = (lenfunc)records_length};

PyTypeObject Records_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kvd.core._core.Records",
    .tp_basicsize = sizeof(Records),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Records(Entry, MISSING, Raw): see kvd.storage.records.",
    .tp_new = records_new,
    .tp_dealloc = (destructor)records_dealloc,
    .tp_methods = records_methods,
    .tp_members = records_members,
    .tp_getset = records_properties,
    .tp_as_sequence = &records_sequence,
};
