/* SHA-256: the compression function, of one message or of several at a time. */

#ifndef HOLDFAST_SHA256_H
#define HOLDFAST_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BLOCK = 64, SHA256_DIGEST = 32, SHA256_LANES_MAX = 8 };

struct sha256_engine {
    const char *name;
    size_t lanes;     /* messages that `many` works on */
    size_t lanes_min; /* with fewer than these at hand, one after another is faster */
    void (*one)(uint32_t state[8], const uint8_t *data, size_t blocks);
    /* The states are all different; NULL if lanes is 1. */
    void (*many)(uint32_t *const *states, const uint8_t *const *data, size_t blocks);
    const struct sha256_engine *narrower; /* of fewer lanes, faster where these do; or NULL */
};

extern const struct sha256_engine sha256_sha_ni_avx512, sha256_sha_ni, sha256_avx2, sha256_armv8, sha256_portable;

extern const uint32_t sha256_initial[8];
extern const uint32_t sha256_constants[64];

void sha256_portable_one(uint32_t state[8], const uint8_t *data, size_t blocks);

#endif
