/* Linear combinations of byte strings over GF(2^8), polynomial 0x11d (docs/spec/immutable.md, section 6.1).
 *
 * The coefficients are public, the bytes are not: no path takes a branch or an address from the bytes. */

#ifndef HOLDFAST_GF256_H
#define HOLDFAST_GF256_H

#include <stddef.h>
#include <stdint.h>

enum { GF256_SOURCES_MAX = 256, GF256_OUTPUTS_MAX = 256 };

/* Sets output[p][b] to the sum over i of rows[p * source_count + i] * sources[i][b], for all p and b.
 * No output overlaps with a source or with another output. */
typedef void gf256_combine(const uint8_t *rows, size_t source_count, const uint8_t *const *sources,
                           size_t output_count, uint8_t *const *outputs, size_t size);

struct gf256_engine {
    const char *name;
    size_t outputs_at_once;   /* at most 8 */
    gf256_combine *combine;   /* of 1 .. outputs_at_once outputs */
};

extern const struct gf256_engine gf256_gfni_avx512, gf256_gfni_avx2, gf256_avx2, gf256_ssse3, gf256_neon,
    gf256_portable;

/* Makes the tables below. Call it once, before anything else here. */
void gf256_prepare(void);

/* Multiplication by each coefficient as a matrix of bits, in the order of GF2P8AFFINEQB. */
extern uint64_t gf256_matrices[256];
/* The products of each coefficient with 0x00, 0x01 .. 0x0f and with 0x00, 0x10 .. 0xf0. */
extern uint8_t gf256_nibble_products[256][2][16];

/* As gf256_combine, for any number of outputs, in strips that stay in the cache. */
void gf256_multiply(const struct gf256_engine *engine, const uint8_t *rows, size_t source_count,
                    const uint8_t *const *sources, size_t output_count, uint8_t *const *outputs, size_t size);

#endif
