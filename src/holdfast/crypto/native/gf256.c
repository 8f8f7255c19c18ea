#include "gf256.h"

uint64_t gf256_matrices[256];
uint8_t gf256_nibble_products[256][2][16];

enum {
    STRIP_BYTES = 192 * 1024, /* of all sources and outputs at work: within the second-level cache */
    STRIP_MIN = 1024,
};

static uint8_t product(uint8_t a, uint8_t b)
{
    uint8_t sum = 0;
    for (int bit = 7; bit >= 0; bit--) {
        sum = (uint8_t)(sum << 1 ^ (sum >> 7) * 0x1d);
        sum ^= (uint8_t)((b >> bit & 1) * a);
    }
    return sum;
}

/* Row by row, the highest bit of the product in the lowest byte; bit j of a row says whether bit j of the
 * other factor counts (Intel's manual, volume 2, GF2P8AFFINEQB). */
static uint64_t matrix(uint8_t coefficient)
{
    uint64_t rows = 0;
    for (int column = 0; column < 8; column++) {
        uint8_t image = product(coefficient, (uint8_t)(1 << column));
        for (int bit = 0; bit < 8; bit++)
            rows |= (uint64_t)(image >> bit & 1) << (8 * (7 - bit) + column);
    }
    return rows;
}

void gf256_prepare(void)
{
    for (int coefficient = 0; coefficient < 256; coefficient++) {
        uint8_t c = (uint8_t)coefficient;
        gf256_matrices[c] = matrix(c);
        for (int nibble = 0; nibble < 16; nibble++) {
            gf256_nibble_products[c][0][nibble] = product(c, (uint8_t)nibble);
            gf256_nibble_products[c][1][nibble] = product(c, (uint8_t)(nibble << 4));
        }
    }
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

void gf256_multiply(const struct gf256_engine *engine, const uint8_t *rows, size_t source_count,
                    const uint8_t *const *sources, size_t output_count, uint8_t *const *outputs, size_t size)
{
    const size_t group = engine->outputs_at_once;
    const uint8_t *from[GF256_SOURCES_MAX];
    uint8_t *to[8];

    size_t strip = size; /* one group reads the sources once, so strips would gain nothing */
    if (output_count > group) {
        strip = STRIP_BYTES / (source_count + group) & ~(size_t)63;
        if (strip < STRIP_MIN)
            strip = STRIP_MIN;
    }
    for (size_t start = 0; start < size; start += strip) {
        size_t length = smaller(strip, size - start);
        for (size_t i = 0; i < source_count; i++)
            from[i] = sources[i] + start;
        for (size_t first = 0; first < output_count; first += group) {
            size_t count = smaller(group, output_count - first);
            for (size_t p = 0; p < count; p++)
                to[p] = outputs[first + p] + start;
            engine->combine(rows + first * source_count, source_count, from, count, to, length);
        }
    }
}
