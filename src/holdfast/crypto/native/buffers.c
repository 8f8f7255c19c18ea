#include "buffers.h"

enum { WORTH_UNLOCKING = 16 * 1024 }; /* bytes; about ten microseconds */

bool buffers_take(struct buffers *buffers, PyObject *sequence, enum access access)
{
    buffers->views = NULL;
    buffers->count = 0;
    buffers->size = 0;
    PyObject *items = PySequence_Tuple(sequence);
    if (!items)
        return false;
    Py_ssize_t count = PyTuple_Size(items);
    buffers->views = PyMem_Calloc((size_t)count + 1, sizeof *buffers->views);
    if (!buffers->views)
        PyErr_NoMemory();
    while (buffers->views && buffers->count < count) {
        PyObject *item = PyTuple_GetItem(items, buffers->count);
        if (PyObject_GetBuffer(item, &buffers->views[buffers->count], access) < 0)
            break;
        buffers->count++;
    }
    Py_DECREF(items); /* each view holds its object */
    if (!buffers->views || buffers->count < count) {
        buffers_release(buffers);
        return false;
    }
    return true;
}

bool buffers_have_one_size(struct buffers *buffers, const char *complaint)
{
    for (Py_ssize_t i = 1; i < buffers->count; i++)
        if (buffers->views[i].len != buffers->views[0].len) {
            PyErr_SetString(PyExc_ValueError, complaint);
            return false;
        }
    buffers->size = buffers->count ? (size_t)buffers->views[0].len : 0;
    return true;
}

void buffers_release(struct buffers *buffers)
{
    for (Py_ssize_t i = 0; i < buffers->count; i++)
        PyBuffer_Release(&buffers->views[i]);
    PyMem_Free(buffers->views);
    buffers->views = NULL;
    buffers->count = 0;
}

bool buffers_overlap(const void *a, size_t a_size, const void *b, size_t b_size)
{
    uintptr_t first = (uintptr_t)a, second = (uintptr_t)b;
    return a_size && b_size && first < second + b_size && second < first + a_size;
}

PyThreadState *unlock_for(size_t bytes)
{
    return bytes >= WORTH_UNLOCKING ? PyEval_SaveThread() : NULL;
}

void lock_again(PyThreadState *state)
{
    if (state)
        PyEval_RestoreThread(state);
}
