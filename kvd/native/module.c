/* kvd.native._native: the work that the loop does for each command, in C. See kvd/native/__init__.py. */
#include "sums.h"

static PyMethodDef functions[] = {
    {"load_sqlite", load_sqlite, METH_VARARGS, load_sqlite_doc},
    {"connect", connect_sqlite, METH_VARARGS, connect_sqlite_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "kvd.native._native", .m_size = -1,
                                        .m_methods = functions};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&definition);
    make_crc_table();
    if (module && PyModule_AddFunctions(module, frames_methods) < 0) Py_CLEAR(module);
    PyTypeObject *types[] = {&Records_type, &Staging_type, &Rows_type, &Plan_type, &Table_type};
    for (size_t at = 0; module && at < sizeof types / sizeof *types; at++)
        if (PyModule_AddType(module, types[at]) < 0) Py_CLEAR(module);
    return module;
}
