/* AES-128 in counter mode (docs/spec/hashing.md, section 8). No path has timing that depends on secrets. */

#ifndef HOLDFAST_AES_H
#define HOLDFAST_AES_H

#include <stddef.h>
#include <stdint.h>

enum { AES_BLOCK = 16, AES_ROUNDS = 10 };

struct aes_key {
    uint8_t round_keys[AES_ROUNDS + 1][AES_BLOCK];
    uint64_t round_planes[AES_ROUNDS + 1][8]; /* the same for the bit-sliced path */
};

struct aes_engine {
    const char *name;
    /* XORs `in` with the key stream from block number `counter` on; `out` may be `in`. */
    void (*ctr)(const struct aes_key *key, uint64_t counter, const uint8_t *in, uint8_t *out, size_t size);
};

extern const struct aes_engine aes_vaes_avx512, aes_aes_ni, aes_armv8, aes_portable;

void aes_expand_key(struct aes_key *key, const uint8_t bytes[AES_BLOCK]);
void aes_forget_key(struct aes_key *key);

/* XORs `in` with the key stream from byte number `offset` on; `out` may be `in`. */
void aes_ctr(const struct aes_engine *engine, const struct aes_key *key, uint64_t offset, const uint8_t *in,
             uint8_t *out, size_t size);

#endif
