/* The Python module holdfast.crypto._kernel. Its interface is described in _kernel.pyi. */

#include "buffers.h"
#include "merkle.h"
#include "paths.h"
#include "segment_types.h"
#include "tagged_hash.h"

#include <stdlib.h>

/* ---- products ---- */

/* Counts the outputs that `rows` describes; -1 with an exception if it does not fit the sources. */
static Py_ssize_t count_outputs(const Py_buffer *rows, struct buffers *sources)
{
    if (sources->count < 1 || sources->count > GF256_SOURCES_MAX) {
        PyErr_SetString(PyExc_ValueError, "there are 1 to 256 sources");
        return -1;
    }
    if (!buffers_have_one_size(sources, "all buffers have one size"))
        return -1;
    if (rows->len % sources->count || rows->len / sources->count > GF256_OUTPUTS_MAX) {
        PyErr_SetString(PyExc_ValueError, "rows has one coefficient per source and output, of at most 256 outputs");
        return -1;
    }
    return rows->len / sources->count;
}

static void multiply_buffers(const Py_buffer *rows, const struct buffers *sources, uint8_t *const *outputs,
                             size_t output_count)
{
    const uint8_t *from[GF256_SOURCES_MAX];
    for (Py_ssize_t i = 0; i < sources->count; i++)
        from[i] = sources->views[i].buf;
    PyThreadState *state = unlock_for(sources->size * ((size_t)sources->count + output_count));
    gf256_multiply(path_in_use()->gf256, rows->buf, (size_t)sources->count, from, output_count, outputs, sources->size);
    lock_again(state);
}

static bool outputs_fit(struct buffers *outputs, const struct buffers *sources, Py_ssize_t count)
{
    if (outputs->count != count) {
        PyErr_SetString(PyExc_ValueError, "rows has one coefficient per source and output");
        return false;
    }
    if (!buffers_have_one_size(outputs, "all buffers have one size"))
        return false;
    if (count && outputs->size != sources->size) {
        PyErr_SetString(PyExc_ValueError, "all buffers have one size");
        return false;
    }
    for (Py_ssize_t p = 0; p < count; p++) {
        bool overlap = false;
        for (Py_ssize_t i = 0; i < sources->count; i++)
            overlap |= buffers_overlap(outputs->views[p].buf, outputs->size, sources->views[i].buf, outputs->size);
        for (Py_ssize_t i = 0; i < p; i++)
            overlap |= buffers_overlap(outputs->views[p].buf, outputs->size, outputs->views[i].buf, outputs->size);
        if (overlap) {
            PyErr_SetString(PyExc_ValueError, "an output overlaps with a source or another output");
            return false;
        }
    }
    return true;
}

static PyObject *multiply(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer rows;
    PyObject *source_sequence, *output_sequence, *result = NULL;
    struct buffers sources, outputs;
    if (!PyArg_ParseTuple(arguments, "y*OO", &rows, &source_sequence, &output_sequence))
        return NULL;
    if (buffers_take(&sources, source_sequence, READ)) {
        if (buffers_take(&outputs, output_sequence, WRITE)) {
            Py_ssize_t count = count_outputs(&rows, &sources);
            if (count >= 0 && outputs_fit(&outputs, &sources, count)) {
                uint8_t *to[GF256_OUTPUTS_MAX];
                for (Py_ssize_t p = 0; p < count; p++)
                    to[p] = outputs.views[p].buf;
                multiply_buffers(&rows, &sources, to, (size_t)count);
                result = Py_NewRef(Py_None);
            }
            buffers_release(&outputs);
        }
        buffers_release(&sources);
    }
    PyBuffer_Release(&rows);
    return result;
}

/* A list of `count` new bytes objects, not filled yet; `to` receives where their contents go. */
static PyObject *new_bytes_list(Py_ssize_t count, Py_ssize_t size, uint8_t **to)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
        if (bytes) {
            to[i] = (uint8_t *)PyBytes_AsString(bytes);
            PyList_SetItem(list, i, bytes);
        } else {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *products(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer rows;
    PyObject *source_sequence, *result = NULL;
    struct buffers sources;
    if (!PyArg_ParseTuple(arguments, "y*O", &rows, &source_sequence))
        return NULL;
    if (buffers_take(&sources, source_sequence, READ)) {
        Py_ssize_t count = count_outputs(&rows, &sources);
        if (count >= 0) {
            uint8_t *to[GF256_OUTPUTS_MAX];
            result = new_bytes_list(count, (Py_ssize_t)sources.size, to);
            if (result)
                multiply_buffers(&rows, &sources, to, (size_t)count);
        }
        buffers_release(&sources);
    }
    PyBuffer_Release(&rows);
    return result;
}

/* ---- hashes ---- */

static PyObject *hash_buffers(const Py_buffer *tag, const struct buffers *messages)
{
    const size_t count = (size_t)messages->count;
    PyObject *hashes = NULL;
    uint8_t **to = PyMem_Calloc(count + 1, sizeof *to);
    struct hash_task *tasks = PyMem_Calloc(count + 1, sizeof *tasks);
    if (!to || !tasks)
        PyErr_NoMemory();
    else
        hashes = new_bytes_list(messages->count, SHA256_DIGEST, to);
    if (hashes) {
        const struct sha256_engine *engine = path_in_use()->sha256;
        struct sha256_stream tagged;
        sha256_stream_tagged(&tagged, engine, tag->buf, (size_t)tag->len);
        size_t bytes = 0;
        for (size_t i = 0; i < count; i++) {
            const Py_buffer *message = &messages->views[i];
            tasks[i] = (struct hash_task){&tagged, message->buf, (size_t)message->len, NULL, to[i]};
            bytes += (size_t)message->len + SHA256_BLOCK;
        }
        PyThreadState *state = unlock_for(bytes);
        hash_tasks_run(engine, tasks, count);
        lock_again(state);
    }
    PyMem_Free(to);
    PyMem_Free(tasks);
    return hashes;
}

static PyObject *hash_many(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer tag;
    PyObject *sequence, *hashes = NULL;
    struct buffers messages;
    if (!PyArg_ParseTuple(arguments, "y*O", &tag, &sequence))
        return NULL;
    if (buffers_take(&messages, sequence, READ)) {
        hashes = hash_buffers(&tag, &messages);
        buffers_release(&messages);
    }
    PyBuffer_Release(&tag);
    return hashes;
}

static PyObject *hash_parents(PyObject *Py_UNUSED(module), PyObject *level)
{
    Py_buffer nodes;
    PyObject *parents = NULL;
    if (PyObject_GetBuffer(level, &nodes, PyBUF_SIMPLE) < 0)
        return NULL;
    if (nodes.len % (2 * SHA256_DIGEST))
        PyErr_SetString(PyExc_ValueError, "a level has an even number of nodes of 32 bytes");
    else
        parents = PyBytes_FromStringAndSize(NULL, nodes.len / 2);
    if (parents) {
        uint8_t *to = (uint8_t *)PyBytes_AsString(parents);
        PyThreadState *state = unlock_for((size_t)nodes.len);
        merkle_parents(path_in_use(), nodes.buf, (size_t)nodes.len / (2 * SHA256_DIGEST), to);
        lock_again(state);
    }
    PyBuffer_Release(&nodes);
    return parents;
}

/* ---- paths ---- */

static PyObject *paths(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    const struct path *first;
    size_t count = paths_available(&first);
    PyObject *names = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; names && i < count; i++) {
        PyObject *name = PyUnicode_FromString(first[i].name);
        if (!name || PyTuple_SetItem(names, (Py_ssize_t)i, name) < 0)
            Py_CLEAR(names);
    }
    return names;
}

static PyObject *path(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    return PyUnicode_FromString(path_in_use()->name);
}

static PyObject *engines(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    const struct path *in_use = path_in_use();
    return Py_BuildValue("sss", in_use->gf256->name, in_use->aes->name, in_use->sha256->name);
}

static PyObject *force(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    if (!PyArg_ParseTuple(arguments, "s", &name))
        return NULL;
    if (!path_force(name))
        return PyErr_Format(PyExc_ValueError, "there is no path '%s' here", name);
    return Py_NewRef(Py_None);
}

static PyObject *wanted(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    const char *name = getenv("HOLDFAST_KERNEL");
    if (!name || !*name)
        return Py_NewRef(Py_None);
    return PyUnicode_DecodeFSDefault(name);
}

/* ---- module ---- */

static PyMethodDef functions[] = {
    {"multiply", multiply, METH_VARARGS, "multiply(rows, sources, outputs)"},
    {"products", products, METH_VARARGS, "products(rows, sources) -> list of bytes"},
    {"hash_many", hash_many, METH_VARARGS, "hash_many(tag, messages) -> list of bytes"},
    {"hash_parents", hash_parents, METH_O, "hash_parents(level) -> bytes"},
    {"paths", paths, METH_NOARGS, "paths() -> names, best first"},
    {"path", path, METH_NOARGS, "path() -> name"},
    {"engines", engines, METH_NOARGS, "engines() -> names of what multiplies, encrypts and hashes"},
    {"force", force, METH_VARARGS, "force(name)"},
    {"wanted", wanted, METH_NOARGS, "wanted() -> value of HOLDFAST_KERNEL, or None"},
    {NULL, NULL, 0, NULL},
};

static int add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (!type)
        return -1;
    int result = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return result;
}

static int prepare(PyObject *module)
{
    paths_prepare();
    return add_type(module, &segment_encoder_spec) < 0 || add_type(module, &segment_decoder_spec) < 0 ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "holdfast.crypto._kernel",
    .m_doc = "Everything that touches each byte of a file.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernel(void)
{
    return PyModuleDef_Init(&definition);
}
