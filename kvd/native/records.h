/* The key cache: its hash table (slots.c), and its Python type (records.c). */
#pragma once
#include "core.h"

/* The cached state of a key: its entry, or the fact that it has none (revision 0: it never existed). It is one
 * allocation, so a lookup costs one cache miss of the processor instead of five for Python objects. */
typedef struct {
    int64_t revision, created, expires;
    PyObject *large; /* a large value, shared with Python; else NULL */
    uint32_t value_bytes;
    uint16_t key_bytes;
    uint8_t is_entry;
    char bytes[]; /* the key, then the value if it is not large */
} Record;

typedef struct {
    uint32_t hash;
    uint32_t is_warm; /* read or written since `evict` passed */
    Record *record;   /* NULL if the slot is free */
} Slot;

/* A hash table with linear probing. The number of slots is a power of two. */
typedef struct {
    PyObject_HEAD Slot *slots;
    size_t mask, count, hand;
    Py_ssize_t bytes; /* of all records */
    long long hits;
    PyObject *entry_type, *not_cached, *raw_type;
    PyObject *upper_bound; /* bytes: a key at or above it that is not cached does not exist; or None */
} Records;

/* Return the record of a key, NULL if it is not cached. Counts a hit and marks the slot as warm. The record of an
 * absent key may be in no slot. */
const Record *records_find(Records *records, PyObject *key);
/* Look up a list of keys without counting hits; `found` is as long. Return the number of cached ones, -1 with an
 * exception. */
Py_ssize_t records_peek_many(const Records *records, PyObject *keys, const Record **found);
/* Return the value of a record that is an entry. */
PyObject *record_value(const Record *record);
/* Return the record in a key's slot, or NULL, without counting a hit or marking the slot as warm. */
const Record *records_peek(const Records *records, PyObject *key);
/* Grow the table for one more record if necessary. Return -1 with an exception when memory is short. */
int records_grow(Records *records);
/* Insert or replace the record of a key; `value` is NULL for an absent one. Return -1 with an exception when memory is
 * short. */
int records_put(Records *records, PyObject *key, int64_t revision, int64_t created, int64_t expires, PyObject *value);
/* Delete the record of a slot. Another record may be moved into the slot. */
void records_drop(Records *records, size_t at);
/* Return the approximate memory of the table and its records. */
Py_ssize_t records_bytes(const Records *records);
