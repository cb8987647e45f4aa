/* What the parts of kvd.native._core share. Each part has a plain form in Python that does the same, and tests that
 * hold the two against each other. The GIL is held, also while SQLite reads or writes its files, which are in the
 * kernel's memory most of the time: only plan.c, in the fold's thread, lets it go.
 */
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

enum { KIND_SET = 1 };
#define STAYS INT64_MIN /* an entry that does not expire */

/* Return whether an object can be a key; if not, with an exception. */
int is_key(PyObject *key);

/* A row of the journal, and what a change is staged as: (revision, kind, key, value, previous, created, expires, time).
 */
enum { REVISION, KIND, KEY, VALUE, PREVIOUS, CREATED, EXPIRES, TIME, ROW_FIELDS };

typedef struct {
    int64_t revision, kind, previous, created, expires, time;
    PyObject *key, *value; /* bytes, borrowed; the value may be None */
} Row;

extern PyTypeObject Records_type, Staging_type, Rows_type, Plan_type, Table_type;

/* Read a row; -1 with an exception if it is none. */
int row_from(PyObject *tuple, Row *row);
/* Read a time that may be None (STAYS); -1 with an exception if it is neither. */
int expires_from(PyObject *object, int64_t *expires);
static inline int is_live(int64_t expires, int64_t now) { return expires == STAYS || expires > now; }

PyObject *load(PyObject *self, PyObject *args);
PyObject *opened(PyObject *self, PyObject *args);
extern const char load_doc[], opened_doc[];
