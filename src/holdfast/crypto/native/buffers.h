/* The bytes of Python objects, held while they are worked on. Functions that return false have set an exception. */

#ifndef HOLDFAST_BUFFERS_H
#define HOLDFAST_BUFFERS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

enum access { READ = PyBUF_SIMPLE, WRITE = PyBUF_WRITABLE };

/* Contiguous bytes of a sequence of objects. `size` is that of each, once they were found to have
 * one size. */
struct buffers {
    Py_buffer *views;
    Py_ssize_t count;
    size_t size;
};

bool buffers_take(struct buffers *buffers, PyObject *sequence, enum access access);
bool buffers_have_one_size(struct buffers *buffers, const char *complaint);
void buffers_release(struct buffers *buffers);

bool buffers_overlap(const void *a, size_t a_size, const void *b, size_t b_size);

/* Other threads run while at least some work is done; for a little it would cost more than it gives. */
PyThreadState *unlock_for(size_t bytes);
void lock_again(PyThreadState *state);

#endif
