/* The table of what is known of each key (slots.c), and what is asked of it from Python (records.c). */
#pragma once
#include "core.h"

/* What is known of a key: its entry, or that it has ended (revision 0: never was). In one piece, so that a lookup costs
 * one miss of the processor's caches, not five as a dict of objects of objects. */
typedef struct {
    int64_t revision, created, expires;
    PyObject *large; /* a value too large to be copied, else NULL */
    uint32_t value_bytes;
    uint16_t key_bytes;
    uint8_t is_entry;
    char bytes[]; /* the key, then the value if it is not large */
} Record;

typedef struct {
    uint32_t hash;
    uint32_t is_warm; /* asked for or written since `evict` came by */
    Record *record;   /* NULL: free */
} Slot;

/* A hash table with linear probing, its number of slots a power of two. */
typedef struct {
    PyObject_HEAD Slot *slots;
    size_t mask, count, hand;
    Py_ssize_t bytes; /* of all records */
    long long hits;
    PyObject *entry_type, *missing, *raw_type;
    PyObject *beyond; /* bytes: from this key on there is nothing but what is here; or None */
} Records;

/* Return the record of a key that is bytes, made warm, NULL if nothing is known; counts as a hit if not. It may be one
 * that says that there is nothing, and is in no slot. */
const Record *records_find(Records *records, PyObject *key);
/* Find many; `found` has room for them. Returns how many there are; -1 with an exception. */
Py_ssize_t records_find_many(Records *records, PyObject *keys, const Record **found);
/* Return the value of a record that is an entry. */
PyObject *record_value(const Record *record);
/* Return what is known of a key, NULL if nothing is, as if nobody had asked. */
const Record *records_peek(const Records *records, PyObject *key);
/* Make room for one more; -1 with an exception when there is no memory. */
int records_grow(Records *records);
/* Write what is known of a key; -1 with an exception when there is no memory. `value` is NULL if there is no entry. */
int records_put(Records *records, PyObject *key, int64_t revision, int64_t created, int64_t expires, PyObject *value);
/* Free a slot. Another record may be there then. */
void records_drop(Records *records, size_t at);
/* Return about how many bytes of memory all of it takes. */
Py_ssize_t records_bytes(const Records *records);
