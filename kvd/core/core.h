/* What the parts of kvd.core._core share. Each part has a plain form in Python that does the same, and tests that
 * hold the two against each other. Nothing here waits or lets the GIL go, and nothing is seen by another thread.
 */
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

enum { KIND_SET = 1 };
#define STAYS INT64_MIN /* an entry that does not expire */

/* What is known of a key: its entry, or that it has ended (revision 0: never was). In one piece, so that a lookup costs one miss
 * of the processor's caches, not five as a dict of objects of objects. */
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
    PyObject_HEAD
    Slot *slots;
    size_t mask, count, hand;
    Py_ssize_t bytes; /* of all records */
    long long hits;
    PyObject *entry_type, *missing, *raw_type;
    PyObject *beyond; /* bytes: from this key on there is nothing but what is here; or None */
} Records;

/* A row of the journal, and what a change is staged as: (revision, kind, key, value, previous, created, expires, time). */
enum { REVISION, KIND, KEY, VALUE, PREVIOUS, CREATED, EXPIRES, TIME, ROW_FIELDS };

typedef struct {
    int64_t revision, kind, previous, created, expires, time;
    PyObject *key, *value; /* bytes, borrowed; the value may be None */
} Row;

extern PyTypeObject Records_type, Staging_type, Rows_type, Plan_type;

/* Read a row; -1 with an exception if it is none. */
int row_from(PyObject *tuple, Row *row);
/* Read a time that may be None (STAYS); -1 with an exception if it is neither. */
int expires_from(PyObject *object, int64_t *expires);
/* Return the record of a key that is bytes, made warm, NULL if nothing is known; counts as a hit if not. It may be one that
 * says that there is nothing, and is in no slot. */
const Record *records_find(Records *records, PyObject *key);
/* Find many; `found` has room for them. Returns how many there are; -1 with an exception. */
Py_ssize_t records_find_many(Records *records, PyObject *keys, const Record **found);
/* Return the value of a record that is an entry. */
PyObject *record_value(const Record *record);

static inline int is_live(int64_t expires, int64_t now) { return expires == STAYS || expires > now; }

PyObject *load(PyObject *self, PyObject *args);
PyObject *opened(PyObject *self, PyObject *args);
extern const char load_doc[], opened_doc[];
