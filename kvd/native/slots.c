/* A hash table with linear probing of what is known of each key, in one piece each. */
#include "records.h"

enum {
    SLOTS_MIN = 1024,
    LARGE_BYTES = 1024, /* values from here on are shared, not copied */
    AHEAD = 64,         /* keys whose places are fetched before the first is looked at */
};

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

/* Python's hash of bytes: SipHash, so no client can choose keys that collide; kept in the object. */
static uint32_t hash_of(PyObject *key) { return (uint32_t)PyObject_Hash(key); }

static Slot *slot_for(const Records *self, PyObject *key) {
    return slot_of(self, PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key), hash_of(key));
}

int records_grow(Records *self) {
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

/* Those behind it that would not be found any more are moved. */
void records_drop(Records *self, size_t at) {
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

int records_put(Records *self, PyObject *key, int64_t revision, int64_t created, int64_t expires, PyObject *value) {
    if (records_grow(self) < 0) return -1;
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

static int is_above_all(const Records *self, PyObject *key) {
    if (self->beyond == Py_None) return 0;
    size_t size = (size_t)PyBytes_GET_SIZE(key), least = (size_t)PyBytes_GET_SIZE(self->beyond);
    int order = memcmp(PyBytes_AS_STRING(key), PyBytes_AS_STRING(self->beyond), Py_MIN(size, least));
    return order > 0 || (order == 0 && size >= least);
}

/* Return what is known of a key that belongs into a slot. */
static const Record *found_in(const Records *self, Slot *slot, PyObject *key) {
    if (!slot->record) return is_above_all(self, key) ? &nothing : NULL;
    slot->is_warm = 1;
    return slot->record;
}

const Record *records_peek(const Records *self, PyObject *key) { return slot_for(self, key)->record; }

const Record *records_find(Records *self, PyObject *key) {
    const Record *found = found_in(self, slot_for(self, key), key);
    self->hits += found != NULL;
    return found;
}

/* Places and records are fetched together before they are looked at: 100 keys at random among 100,000 take 4 us,
 * not 12. */
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

Py_ssize_t records_bytes(const Records *self) { return self->bytes + (Py_ssize_t)((self->mask + 1) * sizeof(Slot)); }
