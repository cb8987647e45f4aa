/* The hash table of records, with linear probing. Each record is one allocation. */
#include "records.h"

enum {
    SLOTS_MIN = 1024,
    LARGE_BYTES = 1024, /* a value of this size or more is shared with Python, not copied */
    AHEAD = 64,         /* keys whose slots are prefetched before the first is compared */
};

static size_t inline_bytes(const Record *record) { return record->large ? 0 : record->value_bytes; }

/* Return the memory of a record: its allocation with malloc's header, rounded up to 16, and a shared value. */
static Py_ssize_t weight(const Record *record) {
    size_t own = sizeof *record + record->key_bytes + inline_bytes(record);
    return (Py_ssize_t)(((own + 8 + 15) & ~(size_t)15) + (record->large ? record->value_bytes : 0));
}

static int has_key(const Record *record, const char *key, size_t size) {
    return record->key_bytes == size && !memcmp(record->bytes, key, size);
}

/* Return the slot of a key, or the free slot for it. */
static Slot *slot_of(const Records *self, const char *key, size_t size, uint32_t hash) {
    size_t at = hash & self->mask;
    for (;; at = (at + 1) & self->mask) {
        Slot *slot = &self->slots[at];
        if (!slot->record || (slot->hash == hash && has_key(slot->record, key, size))) return slot;
    }
}

/* Python's hash of bytes. It is SipHash, so no client can choose colliding keys, and the object caches it. */
static uint32_t hash_of(PyObject *key) { return (uint32_t)PyObject_Hash(key); }

static Slot *slot_for(const Records *self, PyObject *key) {
    return slot_of(self, PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key), hash_of(key));
}

int records_grow(Records *self) {
    size_t old_count = self->mask + 1;
    if (self->slots && (self->count + 1) * 3 <= old_count * 2) return 0;
    size_t new_count = self->slots ? old_count * 2 : SLOTS_MIN;
    Slot *slots = PyMem_RawCalloc(new_count, sizeof *slots);
    if (!slots) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t at = 0; self->slots && at < old_count; at++) {
        if (!self->slots[at].record) continue;
        size_t to = self->slots[at].hash & (new_count - 1);
        while (slots[to].record) to = (to + 1) & (new_count - 1);
        slots[to] = self->slots[at];
    }
    PyMem_RawFree(self->slots);
    self->slots = slots;
    self->mask = new_count - 1;
    self->hand = 0;
    return 0;
}

/* Backward-shift deletion (Knuth, TAOCP 6.4, algorithm R): no tombstones are left. */
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
    if (!record) Py_FatalError("kvd: no memory for a record"); /* the change is already durable and cannot be undone */
    if (!slot->record) {
        self->count++;
        slot->hash = hash_of(key);
        memcpy(record->bytes, PyBytes_AS_STRING(key), key_bytes);
    }
    record->revision = revision;
    record->created = created;
    record->expires = expires;
    record->key_bytes = (uint16_t)key_bytes;
    record->value_bytes = (uint32_t)value_bytes;
    record->is_entry = value != NULL;
    record->large = is_large ? Py_NewRef(value) : NULL;
    if (value && !is_large) memcpy(record->bytes + key_bytes, PyBytes_AS_STRING(value), value_bytes);
    slot->record = record;
    slot->is_warm = 1;
    self->bytes += weight(record);
    return 0;
}

PyObject *record_value(const Record *record) {
    if (record->large) return Py_NewRef(record->large);
    return PyBytes_FromStringAndSize(record->bytes + record->key_bytes, record->value_bytes);
}

/* The record of an absent key: one without a record of its own, but above all keys of the table. */
static const Record absent = {.expires = STAYS};

static int is_above_table(const Records *self, PyObject *key) {
    if (self->upper_bound == Py_None) return 0;
    size_t size = (size_t)PyBytes_GET_SIZE(key), bound_size = (size_t)PyBytes_GET_SIZE(self->upper_bound);
    int order = memcmp(PyBytes_AS_STRING(key), PyBytes_AS_STRING(self->upper_bound), Py_MIN(size, bound_size));
    return order > 0 || (order == 0 && size >= bound_size);
}

/* Return the record of a key by its slot, NULL if the key is not cached. Marks the slot as warm. */
static const Record *record_in(const Records *self, Slot *slot, PyObject *key) {
    if (!slot->record) return is_above_table(self, key) ? &absent : NULL;
    slot->is_warm = 1;
    return slot->record;
}

const Record *records_peek(const Records *self, PyObject *key) { return slot_for(self, key)->record; }

const Record *records_find(Records *self, PyObject *key) {
    const Record *record = record_in(self, slot_for(self, key), key);
    self->hits += record != NULL;
    return record;
}

/* Slots and records are prefetched for many keys at a time. (100 random keys among 100,000 take 4 us, not 12.) */
Py_ssize_t records_peek_many(const Records *self, PyObject *keys, const Record **records) {
    Py_ssize_t count = PyList_GET_SIZE(keys), cached = 0;
    Slot *slots[AHEAD];
    for (Py_ssize_t begin = 0; begin < count; begin += AHEAD) {
        Py_ssize_t some = Py_MIN(AHEAD, count - begin);
        for (Py_ssize_t at = 0; at < some; at++) {
            PyObject *key = PyList_GET_ITEM(keys, begin + at);
            if (!is_key(key)) return -1;
            __builtin_prefetch(&self->slots[hash_of(key) & self->mask]);
        }
        for (Py_ssize_t at = 0; at < some; at++) { /* the first slot with this hash is most likely the right one */
            uint32_t hash = hash_of(PyList_GET_ITEM(keys, begin + at));
            size_t index = hash & self->mask;
            while (self->slots[index].record && self->slots[index].hash != hash) index = (index + 1) & self->mask;
            slots[at] = &self->slots[index];
            const char *record = (const char *)slots[at]->record;
            __builtin_prefetch(record);
            __builtin_prefetch(record + 64);
            __builtin_prefetch(record + 128);
        }
        for (Py_ssize_t at = 0; at < some; at++) {
            PyObject *key = PyList_GET_ITEM(keys, begin + at);
            Slot *slot = slots[at];
            if (slot->record && !has_key(slot->record, PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key)))
                slot = slot_for(self, key);
            records[begin + at] = record_in(self, slot, key);
            cached += records[begin + at] != NULL;
        }
    }
    return cached;
}

Py_ssize_t records_bytes(const Records *self) { return self->bytes + (Py_ssize_t)((self->mask + 1) * sizeof(Slot)); }
