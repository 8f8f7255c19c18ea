/* One segment of an immutable file: encrypted, coded and hashed, or rebuilt, hashed and decrypted
 * (docs/spec/immutable.md, sections 4 to 7). */

#ifndef HOLDFAST_SEGMENT_H
#define HOLDFAST_SEGMENT_H

#include "aes.h"
#include "paths.h"
#include "tagged_hash.h"

#include <stdbool.h>

struct segment_cipher {
    bool transparent; /* there is no key; plaintext and ciphertext are the same */
    struct aes_key key;
};

/* `key`: 16 bytes, or NULL. */
void segment_cipher_init(struct segment_cipher *cipher, const uint8_t *key);

struct segment_encoder {
    struct segment_cipher cipher;
    size_t shares_needed, shares_total;
    const uint8_t *rows;             /* coefficients of the check blocks */
    struct sha256_stream crypttext;  /* of all segments so far */
};

/* The caller sets the other members. */
void segment_encoder_init(struct segment_encoder *encoder, const struct path *path);

/* Makes n blocks of `block_size` bytes in `out`, and their hashes. `size` is at most k * block_size; `plaintext` is
 * `out`, or does not overlap with it. */
void segment_encode(struct segment_encoder *encoder, const struct path *path, const uint8_t *plaintext, size_t size,
                    uint64_t offset, size_t block_size, uint8_t *out, uint8_t *segment_hash, uint8_t *block_hashes);

/* The hash of all ciphertext so far. */
void segment_crypttext_hash(const struct segment_encoder *encoder, const struct path *path, uint8_t *hash);

struct segment_decoder {
    struct segment_cipher cipher;
    size_t shares_needed;
};

struct segment_blocks {
    const uint8_t *const *blocks;  /* k of them */
    const uint8_t *numbers;        /* their share numbers, all different */
    const uint8_t *missing_rows;   /* coefficients of the missing primary blocks, in ascending order */
    size_t block_size;
};

/* Makes the `size` bytes of a segment, at most k * block_size, in `out`, and the hashes. A block may lie at its own place
 * in `out` (number i at i * block_size); others do not overlap with it. */
void segment_decode(const struct segment_decoder *decoder, const struct path *path,
                    const struct segment_blocks *given, uint64_t offset, size_t size, uint8_t *out,
                    uint8_t *segment_hash, uint8_t *block_hashes);

#endif
