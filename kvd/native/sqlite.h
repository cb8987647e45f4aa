/* The SQLite library that Python's module has loaded. Its functions are looked up by name, so two libraries never use
 * the same file, and nothing else must be installed. Source: https://sqlite.org/c3ref/intro.html
 */
#pragma once
#include "core.h"

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef int (*entry_point)(sqlite3 *, char **, const void *);

enum { OK = 0, ROW = 100, DONE = 101, PREPARE_PERSISTENT = 1 };
enum { INTEGER_TYPE = 1, BLOB_TYPE = 4, NULL_TYPE = 5 };

typedef struct {
    int (*auto_extension)(entry_point);
    int (*prepare)(sqlite3 *, const char *, int, unsigned, sqlite3_stmt **, const char **);
    int (*finalize)(sqlite3_stmt *);
    int (*step)(sqlite3_stmt *);
    int (*reset)(sqlite3_stmt *);
    int (*bind_null)(sqlite3_stmt *, int);
    int (*bind_int64)(sqlite3_stmt *, int, int64_t);
    int (*bind_blob64)(sqlite3_stmt *, int, const void *, uint64_t, void (*)(void *));
    int (*clear_bindings)(sqlite3_stmt *);
    int (*column_type)(sqlite3_stmt *, int);
    int64_t (*column_int64)(sqlite3_stmt *, int);
    const void *(*column_blob)(sqlite3_stmt *, int);
    int (*column_bytes)(sqlite3_stmt *, int);
    int (*extended_errcode)(sqlite3 *);
    const char *(*errmsg)(sqlite3 *);
} Lite;

extern Lite lite; /* empty until `load_sqlite` */

/* Return (code, message) of a connection's last error. */
PyObject *lite_failure(sqlite3 *db);
/* Prepare a statement on the connection at an address, an int object. Return NULL with an exception. */
sqlite3_stmt *lite_prepare(PyObject *address, const char *sql);
