/* Declarations that the parts of kvd.native._native share. Each part has a plain form in Python with the same
 * behaviour, and tests compare the two. The parts hold the GIL, even while SQLite reads or writes its files, because
 * these are mostly in the page cache. Only plan.c releases it, in the fold thread.
 */
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

enum { KIND_SET = 1 };
#define STAYS INT64_MIN /* the expiry of an entry that does not expire */

/* Return whether an object can be a key; if not, set an exception. */
int is_key(PyObject *key);

/* The fields of a row of the journal, as in commands/model.py. */
enum { REVISION, KIND, KEY, VALUE, PREVIOUS, CREATED, EXPIRES, TIME, ROW_FIELDS };

typedef struct {
    int64_t revision, kind, previous, created, expires, time;
    PyObject *key, *value; /* bytes, borrowed; the value may be None */
} Row;

extern PyTypeObject Records_type, Staging_type, Rows_type, Plan_type, Table_type;

/* Read a row from a tuple. Return 0, or -1 with an exception. */
int row_from(PyObject *tuple, Row *row);
/* Read a time, or None as STAYS. Return 0, or -1 with an exception. */
int expires_from(PyObject *object, int64_t *expires);
static inline int is_live(int64_t expires, int64_t now) { return expires == STAYS || expires > now; }

PyObject *load_sqlite(PyObject *self, PyObject *args);
PyObject *connect_sqlite(PyObject *self, PyObject *args);
extern const char load_sqlite_doc[], connect_sqlite_doc[];
extern PyMethodDef frames_methods[];
