/* Products in plain C, many bytes of a source at a time.
 *
 * Doubling is a shift and a conditional XOR, and every product is a sum of doublings: which, is told by the
 * bits of the coefficient. The doublings of a source serve all outputs. Compilers turn the loops over a chunk
 * into whatever vectors the processor surely has. */

#include "gf256.h"

#include <string.h>

enum { CHUNK = 128, OUTPUTS = 8 };

static void double_each(uint8_t *restrict to, const uint8_t *restrict from)
{
    for (size_t b = 0; b < CHUNK; b++) {
        uint8_t carry = (uint8_t)-(from[b] >> 7);
        to[b] = (uint8_t)((from[b] << 1) ^ (carry & 0x1d));
    }
}

static void add_each(uint8_t *restrict to, const uint8_t *restrict from)
{
    for (size_t b = 0; b < CHUNK; b++)
        to[b] ^= from[b];
}

static void combine(const uint8_t *rows, size_t source_count, const uint8_t *const *sources,
                    size_t output_count, uint8_t *const *outputs, size_t size)
{
    uint8_t doublings[8][CHUNK], sums[OUTPUTS][CHUNK];

    for (size_t start = 0; start < size; start += CHUNK) {
        size_t length = size - start < CHUNK ? size - start : CHUNK;
        memset(sums, 0, sizeof sums);
        memset(doublings[0], 0, CHUNK);
        for (size_t i = 0; i < source_count; i++) {
            memcpy(doublings[0], sources[i] + start, length);
            for (int bit = 1; bit < 8; bit++)
                double_each(doublings[bit], doublings[bit - 1]);
            for (size_t p = 0; p < output_count; p++)
                for (int bit = 0; bit < 8; bit++)
                    if (rows[p * source_count + i] >> bit & 1)
                        add_each(sums[p], doublings[bit]);
        }
        for (size_t p = 0; p < output_count; p++)
            memcpy(outputs[p] + start, sums[p], length);
    }
}

const struct gf256_engine gf256_portable = {"portable", OUTPUTS, combine};
