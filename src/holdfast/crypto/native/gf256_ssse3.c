/* Products with SSSE3: two look-ups of nibbles in registers for 16 of them. */

#include "cpu.h"

#if HOLDFAST_X86_64

#include "gf256.h"

#include <string.h>
#include <tmmintrin.h>

#define TARGET __attribute__((target("ssse3")))
#define VECTOR __m128i
#define ZERO _mm_setzero_si128()
#define ADD(a, b) _mm_xor_si128(a, b)
#define FACTOR struct nibbles
#define PREPARE(vector) nibbles(vector)
#define PRODUCT(coefficient, factor) nibbles_product(gf256_nibble_products[coefficient], factor)
#define OUTPUTS 4
#define ENGINE gf256_ssse3
#define ENGINE_NAME "ssse3"

struct nibbles {
    __m128i low, high;
};

TARGET static inline struct nibbles nibbles(__m128i bytes)
{
    const __m128i low = _mm_set1_epi8(0x0f);
    return (struct nibbles){_mm_and_si128(bytes, low), _mm_and_si128(_mm_srli_epi64(bytes, 4), low)};
}

TARGET static inline __m128i nibbles_product(const uint8_t table[2][16], struct nibbles factor)
{
    __m128i low = _mm_loadu_si128((const __m128i *)table[0]);
    __m128i high = _mm_loadu_si128((const __m128i *)table[1]);
    return _mm_xor_si128(_mm_shuffle_epi8(low, factor.low), _mm_shuffle_epi8(high, factor.high));
}

TARGET static inline __m128i load(const uint8_t *from, size_t count)
{
    __m128i vector = _mm_setzero_si128();
    memcpy(&vector, from, count);
    return vector;
}

TARGET static inline void store(uint8_t *to, __m128i vector, size_t count)
{
    memcpy(to, &vector, count);
}

#include "gf256_vector.h"

#endif
