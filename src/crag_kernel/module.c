/* The Python module crag_kernel._native: checks every argument, then computes without the GIL.

   A buffer of another type, shape or layout raises and is never read. What indexes memory is checked
   where no other thread can change it any more: the orders of a rotation on a copy of the call's own,
   the places of a search each after it was read, once (find.c). */

/* The stable interface of Python 3.11: one wheel for it and all later versions. */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "levels.h"

static const struct crag_level *levels[3];
static int level_count;

static void find_levels(void) {
    level_count = 0;
    levels[level_count++] = &crag_level_baseline;
#ifdef CRAG_X86
    __builtin_cpu_init();
    int f16c = __builtin_cpu_supports("f16c"), avx2 = __builtin_cpu_supports("avx2");
    if (avx2 && f16c) levels[level_count++] = &crag_level_avx2;
    if (avx2 && f16c && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        levels[level_count++] = &crag_level_avx512;
#endif
}

static const struct crag_level *level_of(int number) {
    if (number >= 0 && number < level_count) return levels[number];
    PyErr_Format(PyExc_ValueError, "there is no level %d of instructions here", number);
    return NULL;
}

/* Take a C-contiguous buffer of `columns` (or any number, if -1) per row, native numbers of one of
   the `formats`; `rows` of -1 takes any number. Raises and returns -1 otherwise. */
static int take(PyObject *from, Py_buffer *view, const char *name, const char *formats,
                Py_ssize_t rows, Py_ssize_t columns, int writable) {
    int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(from, view, flags) < 0) return -1;
    const char *format = view->format ? view->format : "B";
    const char *found = format[0] && !format[1] ? strchr(formats, format[0]) : NULL;
    Py_ssize_t size = strchr("fI", format[0]) ? 4 : format[0] == 'B' ? 1 : 2;
    int fits = found && view->itemsize == size && view->ndim == 2 &&
               (rows < 0 || view->shape[0] == rows) && (columns < 0 || view->shape[1] == columns);
    if (fits) return 0;
    PyErr_Format(PyExc_ValueError, "%s has another type or shape than is needed", name);
    PyBuffer_Release(view);
    return -1;
}

struct call {
    Py_buffer views[6];
    int taken;
    void *memory;
    uint16_t *orders;
};

static int take_into(struct call *call, PyObject *from, const char *name, const char *formats,
                     Py_ssize_t rows, Py_ssize_t columns, int writable) {
    if (take(from, &call->views[call->taken], name, formats, rows, columns, writable) < 0) return -1;
    return call->taken++;
}

static void end(struct call *call) {
    while (call->taken > 0) PyBuffer_Release(&call->views[--call->taken]);
    free(call->memory);
    free(call->orders);
}

static int dimension_fits(Py_ssize_t dimension) {
    if (dimension >= 1 && dimension <= CRAG_MAX_DIMENSION) return 1;
    PyErr_SetString(PyExc_ValueError, "vectors need 1 to 16000 dimensions");
    return 0;
}

static int get_memory(struct call *call, size_t dimension) {
    call->memory = aligned_alloc(64, crag_memory(dimension));
    if (!call->memory) PyErr_NoMemory();
    return call->memory ? 0 : -1;
}

static int take_plan(struct call *call, PyObject *orders, PyObject *factors, Py_ssize_t dimension,
                     struct crag_plan *plan) {
    int o = take_into(call, orders, "orders", "H", CRAG_ROUNDS, dimension, 0);
    if (o < 0) return -1;
    int f = take_into(call, factors, "factors", "f", CRAG_ROUNDS, dimension, 0);
    if (f < 0) return -1;
    size_t count = CRAG_ROUNDS * (size_t)dimension;
    call->orders = malloc(count * sizeof(uint16_t));
    if (!call->orders) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(call->orders, call->views[o].buf, count * sizeof(uint16_t));
    uint16_t largest = 0;
    for (size_t i = 0; i < count; i++) largest = call->orders[i] > largest ? call->orders[i] : largest;
    if (largest >= dimension) {
        PyErr_SetString(PyExc_ValueError, "orders holds an index beyond the dimension");
        return -1;
    }
    *plan = (struct crag_plan){(size_t)dimension, call->orders, call->views[f].buf};
    return 0;
}

static int take_noise(struct call *call, PyObject *words, PyObject *table, Py_ssize_t rows,
                      Py_ssize_t dimension, struct crag_noise *noise) {
    int t = take_into(call, table, "table", "h", 1, CRAG_TABLE, 0);
    if (t < 0) return -1;
    noise->table = call->views[t].buf;
    noise->words = NULL;
    noise->width = 0;
    if (words == Py_None) return 0;
    int w = take_into(call, words, "words", "H", rows, -1, 0);
    if (w < 0) return -1;
    Py_ssize_t width = call->views[w].shape[1];
    if (width < dimension + CRAG_EXTRA) {
        PyErr_SetString(PyExc_ValueError, "words has too few numbers a row");
        return -1;
    }
    noise->words = call->views[w].buf;
    noise->width = (size_t)width;
    return 0;
}

static PyObject *rotate(PyObject *arguments, int backwards) {
    int number;
    PyObject *vectors, *orders, *factors, *out;
    struct call call = {.taken = 0};
    struct crag_plan plan;
    if (!PyArg_ParseTuple(arguments, "iOOOO", &number, &vectors, &orders, &factors, &out)) return NULL;
    const struct crag_level *level = level_of(number);
    if (!level || take_into(&call, vectors, "vectors", "f", -1, -1, 0) < 0) return NULL;
    Py_ssize_t rows = call.views[0].shape[0], dimension = call.views[0].shape[1];
    if (!dimension_fits(dimension) || take_into(&call, out, "out", "f", rows, dimension, 1) < 0 ||
        take_plan(&call, orders, factors, dimension, &plan) < 0 || get_memory(&call, plan.dimension) < 0) {
        end(&call);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    (backwards ? level->backward : level->forward)(&plan, call.views[0].buf, call.views[1].buf,
                                                   (size_t)rows, call.memory);
    Py_END_ALLOW_THREADS;
    end(&call);
    Py_RETURN_NONE;
}

static PyObject *native_forward(PyObject *self, PyObject *arguments) {
    (void)self;
    return rotate(arguments, 0);
}

static PyObject *native_backward(PyObject *self, PyObject *arguments) {
    (void)self;
    return rotate(arguments, 1);
}

static PyObject *native_encrypt(PyObject *self, PyObject *arguments) {
    (void)self;
    int number;
    PyObject *vectors, *words, *orders, *factors, *table, *out;
    struct call call = {.taken = 0};
    struct crag_plan plan;
    struct crag_noise noise;
    if (!PyArg_ParseTuple(arguments, "iOOOOOdfO", &number, &vectors, &words, &orders, &factors, &table,
                          &noise.radius, &noise.scale, &out))
        return NULL;
    const struct crag_level *level = level_of(number);
    if (!level || take_into(&call, vectors, "vectors", "f", -1, -1, 0) < 0) return NULL;
    Py_ssize_t rows = call.views[0].shape[0], dimension = call.views[0].shape[1];
    if (!dimension_fits(dimension) || take_into(&call, out, "out", "ef", rows, dimension, 1) < 0 ||
        take_plan(&call, orders, factors, dimension, &plan) < 0 ||
        take_noise(&call, words, table, rows, dimension, &noise) < 0 ||
        get_memory(&call, plan.dimension) < 0) {
        end(&call);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    level->encrypt(&plan, &noise, call.views[0].buf, call.views[1].buf, call.views[1].itemsize == 2,
                   (size_t)rows, call.memory);
    Py_END_ALLOW_THREADS;
    end(&call);
    Py_RETURN_NONE;
}

static PyObject *native_denoise(PyObject *self, PyObject *arguments) {
    (void)self;
    int number;
    PyObject *values, *words, *table, *out;
    struct call call = {.taken = 0};
    struct crag_noise noise;
    if (!PyArg_ParseTuple(arguments, "iOOOdfO", &number, &values, &words, &table, &noise.radius,
                          &noise.scale, &out))
        return NULL;
    const struct crag_level *level = level_of(number);
    if (!level || take_into(&call, values, "values", "ef", -1, -1, 0) < 0) return NULL;
    Py_ssize_t rows = call.views[0].shape[0], dimension = call.views[0].shape[1];
    if (!dimension_fits(dimension) || take_into(&call, out, "out", "f", rows, dimension, 1) < 0 ||
        take_noise(&call, words, table, rows, dimension, &noise) < 0 ||
        get_memory(&call, (size_t)dimension) < 0) {
        end(&call);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    level->denoise(&noise, call.views[0].buf, call.views[0].itemsize == 2, call.views[1].buf,
                   (size_t)rows, (size_t)dimension, call.memory);
    Py_END_ALLOW_THREADS;
    end(&call);
    Py_RETURN_NONE;
}

static PyObject *native_scores(PyObject *self, PyObject *arguments) {
    (void)self;
    int number;
    PyObject *values, *words, *table, *query, *out;
    struct call call = {.taken = 0};
    struct crag_noise noise;
    if (!PyArg_ParseTuple(arguments, "iOOOdfOO", &number, &values, &words, &table, &noise.radius,
                          &noise.scale, &query, &out))
        return NULL;
    const struct crag_level *level = level_of(number);
    if (!level || take_into(&call, values, "values", "ef", -1, -1, 0) < 0) return NULL;
    Py_ssize_t rows = call.views[0].shape[0], dimension = call.views[0].shape[1];
    if (!dimension_fits(dimension) || take_into(&call, out, "out", "f", rows, 1, 1) < 0 ||
        take_into(&call, query, "query", "f", 1, dimension, 0) < 0 ||
        take_noise(&call, words, table, rows, dimension, &noise) < 0 ||
        get_memory(&call, (size_t)dimension) < 0) {
        end(&call);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    level->scores(&noise, call.views[0].buf, call.views[0].itemsize == 2, call.views[2].buf,
                  call.views[1].buf, (size_t)rows, (size_t)dimension, call.memory);
    Py_END_ALLOW_THREADS;
    end(&call);
    Py_RETURN_NONE;
}

static PyObject *native_find(PyObject *self, PyObject *arguments) {
    (void)self;
    int shift;
    PyObject *ids, *numbers, *starts, *asked, *out;
    struct call call = {.taken = 0};
    if (!PyArg_ParseTuple(arguments, "OOOiOO", &ids, &numbers, &starts, &shift, &asked, &out)) return NULL;
    if (shift < 32 || shift > 63) {
        PyErr_SetString(PyExc_ValueError, "a place is made of 1 to 32 bits");
        return NULL;
    }
    Py_ssize_t places = (Py_ssize_t)1 << (64 - shift);
    if (take_into(&call, ids, "ids", "B", -1, CRAG_ID, 0) < 0 ||
        take_into(&call, numbers, "numbers", "I", call.views[0].shape[0], 1, 0) < 0 ||
        take_into(&call, starts, "starts", "I", places + 1, 1, 0) < 0 ||
        take_into(&call, asked, "asked", "B", -1, CRAG_ID, 0) < 0 ||
        take_into(&call, out, "out", "I", call.views[3].shape[0], 1, 1) < 0) {
        end(&call);
        return NULL;
    }
    struct crag_rows rows = {call.views[0].buf, call.views[1].buf, (size_t)call.views[0].shape[0],
                             call.views[2].buf, (unsigned)shift};
    Py_BEGIN_ALLOW_THREADS;
    crag_find(&rows, call.views[3].buf, (size_t)call.views[3].shape[0], call.views[4].buf);
    Py_END_ALLOW_THREADS;
    end(&call);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"forward", native_forward, METH_VARARGS, NULL},
    {"backward", native_backward, METH_VARARGS, NULL},
    {"encrypt", native_encrypt, METH_VARARGS, NULL},
    {"denoise", native_denoise, METH_VARARGS, NULL},
    {"scores", native_scores, METH_VARARGS, NULL},
    {"find", native_find, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module) {
    find_levels();
    PyObject *names = PyTuple_New(level_count);
    if (!names) return -1;
    for (int i = 0; i < level_count; i++) {
        PyObject *name = PyUnicode_FromString(levels[i]->name);
        if (!name || PyTuple_SetItem(names, i, name) < 0) {
            Py_DECREF(names);
            return -1;
        }
    }
    int done = PyModule_AddObjectRef(module, "LEVELS", names);
    Py_DECREF(names);
    return done < 0 ? done : PyModule_AddIntConstant(module, "INTERFACE", CRAG_INTERFACE);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "crag_kernel._native", NULL, 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) {
    return PyModuleDef_Init(&definition);
}
