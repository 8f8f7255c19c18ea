#include "segment_types.h"

#include "buffers.h"
#include "segment.h"

#include <string.h>

enum { BLOCKS_MAX = GF256_SOURCES_MAX };

/* ---- what both types need ---- */

/* Sets `cipher` from bytes of length 16 or None. */
static bool take_key(struct segment_cipher *cipher, PyObject *key)
{
    if (key == Py_None) {
        segment_cipher_init(cipher, NULL);
        return true;
    }
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(key, &bytes, &size) < 0)
        return false;
    if (size != AES_BLOCK) {
        PyErr_SetString(PyExc_ValueError, "the key has 16 bytes");
        return false;
    }
    segment_cipher_init(cipher, (const uint8_t *)bytes);
    return true;
}

static bool check_offset(long long offset)
{
    if (offset >= 0)
        return true;
    PyErr_SetString(PyExc_ValueError, "offset lies in 0 .. 2**63-1");
    return false;
}

static PyObject *hash_pair(const uint8_t *segment_hash, const uint8_t *block_hashes, size_t blocks)
{
    return Py_BuildValue("y#y#", (const char *)segment_hash, (Py_ssize_t)SHA256_DIGEST, (const char *)block_hashes,
                         (Py_ssize_t)(SHA256_DIGEST * blocks));
}

static void free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc free_memory = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_memory(self);
    Py_DECREF(type);
}

static PyObject *new_object(PyTypeObject *type)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return allocate(type, 0);
}

/* ---- SegmentEncoder ---- */

struct encoder_object {
    PyObject_HEAD
    PyObject *rows; /* bytes */
    bool busy;      /* in `encode`; read and written with the interpreter lock held */
    struct segment_encoder encoder;
};

static bool fill_encoder(struct encoder_object *self, PyObject *key, Py_ssize_t needed, Py_ssize_t total,
                         PyObject *rows)
{
    if (needed < 1 || needed > total || total > BLOCKS_MAX) {
        PyErr_SetString(PyExc_ValueError, "1 <= shares_needed <= shares_total <= 256");
        return false;
    }
    if (PyBytes_Size(rows) != needed * (total - needed)) {
        PyErr_SetString(PyExc_ValueError, "the rows have one coefficient per piece and check block");
        return false;
    }
    if (!take_key(&self->encoder.cipher, key))
        return false;
    Py_INCREF(rows);
    self->rows = rows;
    self->encoder.rows = (const uint8_t *)PyBytes_AsString(rows);
    self->encoder.shares_needed = (size_t)needed;
    self->encoder.shares_total = (size_t)total;
    segment_encoder_init(&self->encoder, path_in_use());
    return true;
}

static PyObject *encoder_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *key, *rows;
    Py_ssize_t needed, total;
    static char *names[] = {"key", "shares_needed", "shares_total", "check_rows", NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OnnS", names, &key, &needed, &total, &rows))
        return NULL;
    PyObject *self = new_object(type);
    if (self && !fill_encoder((struct encoder_object *)self, key, needed, total, rows))
        Py_CLEAR(self);
    return self;
}

static void encoder_dealloc(PyObject *object)
{
    struct encoder_object *self = (struct encoder_object *)object;
    aes_forget_key(&self->encoder.cipher.key);
    Py_XDECREF(self->rows);
    free_object(object);
}

static bool check_sizes(const struct segment_encoder *encoder, const Py_buffer *plaintext, Py_ssize_t block_size,
                        const Py_buffer *out)
{
    const Py_ssize_t n = (Py_ssize_t)encoder->shares_total, k = (Py_ssize_t)encoder->shares_needed;
    if (block_size < 1 || block_size > PY_SSIZE_T_MAX / BLOCKS_MAX || plaintext->len > k * block_size) {
        PyErr_SetString(PyExc_ValueError, "a segment fits into shares_needed blocks of at least one byte");
        return false;
    }
    if (out->len != n * block_size) {
        PyErr_SetString(PyExc_ValueError, "out has shares_total blocks");
        return false;
    }
    if (plaintext->buf != out->buf
        && buffers_overlap(plaintext->buf, (size_t)plaintext->len, out->buf, (size_t)out->len)) {
        PyErr_SetString(PyExc_ValueError, "the plaintext overlaps with out, and does not begin where it does");
        return false;
    }
    return true;
}

static PyObject *encode_into(struct encoder_object *self, const Py_buffer *plaintext, long long offset,
                             Py_ssize_t block_size, const Py_buffer *out)
{
    if (!check_sizes(&self->encoder, plaintext, block_size, out) || !check_offset(offset))
        return NULL;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "another thread is encoding a segment of this file");
        return NULL;
    }
    uint8_t segment_hash[SHA256_DIGEST], block_hashes[BLOCKS_MAX * SHA256_DIGEST];
    self->busy = true;
    PyThreadState *state = unlock_for((size_t)out->len);
    segment_encode(&self->encoder, path_in_use(), plaintext->buf, (size_t)plaintext->len, (uint64_t)offset,
                   (size_t)block_size, out->buf, segment_hash, block_hashes);
    lock_again(state);
    self->busy = false;
    return hash_pair(segment_hash, block_hashes, self->encoder.shares_total);
}

static PyObject *encoder_encode(PyObject *self, PyObject *arguments)
{
    Py_buffer plaintext, out;
    long long offset;
    Py_ssize_t block_size;
    if (!PyArg_ParseTuple(arguments, "y*Lnw*", &plaintext, &offset, &block_size, &out))
        return NULL;
    PyObject *hashes = encode_into((struct encoder_object *)self, &plaintext, offset, block_size, &out);
    PyBuffer_Release(&plaintext);
    PyBuffer_Release(&out);
    return hashes;
}

static PyObject *encoder_crypttext_hash(PyObject *object, PyObject *Py_UNUSED(arguments))
{
    struct encoder_object *self = (struct encoder_object *)object;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "another thread is encoding a segment of this file");
        return NULL;
    }
    uint8_t hash[SHA256_DIGEST];
    segment_crypttext_hash(&self->encoder, path_in_use(), hash);
    return PyBytes_FromStringAndSize((const char *)hash, sizeof hash);
}

static PyMethodDef encoder_methods[] = {
    {"encode", encoder_encode, METH_VARARGS, "encode(plaintext, offset, block_size, out) -> hashes"},
    {"crypttext_hash", encoder_crypttext_hash, METH_NOARGS, "crypttext_hash() -> bytes"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot encoder_slots[] = {
    {Py_tp_new, encoder_new},
    {Py_tp_dealloc, encoder_dealloc},
    {Py_tp_methods, encoder_methods},
    {Py_tp_doc, "Encrypts, codes and hashes the segments of one file."},
    {0, NULL},
};

PyType_Spec segment_encoder_spec = {
    .name = "holdfast.crypto._kernel.SegmentEncoder",
    .basicsize = sizeof(struct encoder_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = encoder_slots,
};

/* ---- SegmentDecoder ---- */

struct decoder_object {
    PyObject_HEAD
    struct segment_decoder decoder;
};

static PyObject *decoder_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *key;
    Py_ssize_t needed;
    static char *names[] = {"key", "shares_needed", NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "On", names, &key, &needed))
        return NULL;
    if (needed < 1 || needed > BLOCKS_MAX) {
        PyErr_SetString(PyExc_ValueError, "1 <= shares_needed <= 256");
        return NULL;
    }
    PyObject *self = new_object(type);
    if (self) {
        struct segment_decoder *decoder = &((struct decoder_object *)self)->decoder;
        decoder->shares_needed = (size_t)needed;
        if (!take_key(&decoder->cipher, key))
            Py_CLEAR(self);
    }
    return self;
}

static void decoder_dealloc(PyObject *object)
{
    aes_forget_key(&((struct decoder_object *)object)->decoder.cipher.key);
    free_object(object);
}

/* Copies `k` different share numbers; `missing` becomes how many numbers below k are not among them. */
static bool take_numbers(PyObject *sequence, size_t k, uint8_t numbers[BLOCKS_MAX], size_t *missing)
{
    bool seen[BLOCKS_MAX] = {false};
    PyObject *items = PySequence_Tuple(sequence);
    if (!items)
        return false;
    bool good = (size_t)PyTuple_Size(items) == k;
    *missing = k;
    for (size_t i = 0; good && i < k; i++) {
        long number = PyLong_AsLong(PyTuple_GetItem(items, (Py_ssize_t)i));
        good = number >= 0 && number < BLOCKS_MAX && !seen[number];
        if (good) {
            seen[number] = true;
            numbers[i] = (uint8_t)number;
            *missing -= (size_t)number < k;
        }
    }
    Py_DECREF(items);
    if (!good && (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_OverflowError)))
        PyErr_SetString(PyExc_ValueError, "shares_needed different share numbers in 0 .. 255 are needed");
    return good;
}

/* A block may overlap with `out` only where its bytes belong. */
static bool check_places(const struct buffers *blocks, const uint8_t *numbers, const Py_buffer *out, size_t size)
{
    const size_t k = (size_t)blocks->count;
    for (size_t i = 0; i < k; i++) {
        const uint8_t *block = blocks->views[i].buf, *start = out->buf;
        bool at_home = numbers[i] < k && numbers[i] * blocks->size < size
            && block == start + numbers[i] * blocks->size;
        if (!at_home && buffers_overlap(block, blocks->size, start, size)) {
            PyErr_SetString(PyExc_ValueError, "a block overlaps with out, and not at its place");
            return false;
        }
    }
    return true;
}

static PyObject *decode_into(const struct segment_decoder *decoder, struct buffers *blocks, PyObject *number_sequence,
                             const Py_buffer *rows, long long offset, Py_ssize_t size, const Py_buffer *out)
{
    const size_t k = decoder->shares_needed;
    uint8_t numbers[BLOCKS_MAX];
    size_t missing;
    if (!take_numbers(number_sequence, k, numbers, &missing) || !check_offset(offset))
        return NULL;
    if ((size_t)blocks->count != k) {
        PyErr_SetString(PyExc_ValueError, "shares_needed blocks are needed");
        return NULL;
    }
    if (!buffers_have_one_size(blocks, "all blocks have one size"))
        return NULL;
    if ((size_t)rows->len != missing * k) {
        PyErr_SetString(PyExc_ValueError, "the rows have one coefficient per block and missing piece");
        return NULL;
    }
    if (blocks->size > PY_SSIZE_T_MAX / BLOCKS_MAX || size < 0 || (size_t)size > k * blocks->size
        || size > out->len) {
        PyErr_SetString(PyExc_ValueError, "size fits into the blocks and into out");
        return NULL;
    }
    if (!check_places(blocks, numbers, out, (size_t)size))
        return NULL;

    const uint8_t *pointers[BLOCKS_MAX];
    for (size_t i = 0; i < k; i++)
        pointers[i] = blocks->views[i].buf;
    const struct segment_blocks given = {pointers, numbers, rows->buf, blocks->size};
    uint8_t segment_hash[SHA256_DIGEST], block_hashes[BLOCKS_MAX * SHA256_DIGEST];
    PyThreadState *state = unlock_for((size_t)size);
    segment_decode(decoder, path_in_use(), &given, (uint64_t)offset, (size_t)size, out->buf, segment_hash,
                   block_hashes);
    lock_again(state);
    return hash_pair(segment_hash, block_hashes, k);
}

static PyObject *decoder_decode(PyObject *self, PyObject *arguments)
{
    PyObject *block_sequence, *numbers;
    Py_buffer rows, out;
    long long offset;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(arguments, "OOy*Lnw*", &block_sequence, &numbers, &rows, &offset, &size, &out))
        return NULL;
    PyObject *hashes = NULL;
    struct buffers blocks;
    if (buffers_take(&blocks, block_sequence, READ)) {
        hashes = decode_into(&((struct decoder_object *)self)->decoder, &blocks, numbers, &rows, offset, size, &out);
        buffers_release(&blocks);
    }
    PyBuffer_Release(&rows);
    PyBuffer_Release(&out);
    return hashes;
}

static PyMethodDef decoder_methods[] = {
    {"decode", decoder_decode, METH_VARARGS, "decode(blocks, numbers, missing_rows, offset, size, out) -> hashes"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot decoder_slots[] = {
    {Py_tp_new, decoder_new},
    {Py_tp_dealloc, decoder_dealloc},
    {Py_tp_methods, decoder_methods},
    {Py_tp_doc, "Rebuilds, hashes and decrypts the segments of one file."},
    {0, NULL},
};

PyType_Spec segment_decoder_spec = {
    .name = "holdfast.crypto._kernel.SegmentDecoder",
    .basicsize = sizeof(struct decoder_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = decoder_slots,
};
