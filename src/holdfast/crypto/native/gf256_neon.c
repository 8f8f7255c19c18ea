/* Products with NEON: two look-ups of nibbles in registers for 16 of them. */

#include "cpu.h"

#if HOLDFAST_AARCH64

#include "gf256.h"

#include <arm_neon.h>
#include <string.h>

#define TARGET
#define VECTOR uint8x16_t
#define ZERO vdupq_n_u8(0)
#define ADD(a, b) veorq_u8(a, b)
#define FACTOR struct nibbles
#define PREPARE(vector) nibbles(vector)
#define PRODUCT(coefficient, factor) nibbles_product(gf256_nibble_products[coefficient], factor)
#define OUTPUTS 8
#define ENGINE gf256_neon
#define ENGINE_NAME "neon"

struct nibbles {
    uint8x16_t low, high;
};

static inline struct nibbles nibbles(uint8x16_t bytes)
{
    return (struct nibbles){vandq_u8(bytes, vdupq_n_u8(0x0f)), vshrq_n_u8(bytes, 4)};
}

static inline uint8x16_t nibbles_product(const uint8_t table[2][16], struct nibbles factor)
{
    return veorq_u8(vqtbl1q_u8(vld1q_u8(table[0]), factor.low), vqtbl1q_u8(vld1q_u8(table[1]), factor.high));
}

static inline uint8x16_t load(const uint8_t *from, size_t count)
{
    uint8x16_t vector = vdupq_n_u8(0);
    memcpy(&vector, from, count);
    return vector;
}

static inline void store(uint8_t *to, uint8x16_t vector, size_t count)
{
    memcpy(to, &vector, count);
}

#include "gf256_vector.h"

#endif
