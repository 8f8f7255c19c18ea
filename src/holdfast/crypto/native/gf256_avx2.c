/* Products with AVX2: two look-ups of nibbles in registers for 32 of them. */

#include "cpu.h"

#if HOLDFAST_X86_64

#include "gf256.h"

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define VECTOR __m256i
#define ZERO _mm256_setzero_si256()
#define ADD(a, b) _mm256_xor_si256(a, b)
#define FACTOR struct nibbles
#define PREPARE(vector) nibbles(vector)
#define PRODUCT(coefficient, factor) nibbles_product(gf256_nibble_products[coefficient], factor)
#define OUTPUTS 4
#define ENGINE gf256_avx2
#define ENGINE_NAME "avx2"

struct nibbles {
    __m256i low, high;
};

TARGET static inline struct nibbles nibbles(__m256i bytes)
{
    const __m256i low = _mm256_set1_epi8(0x0f);
    return (struct nibbles){_mm256_and_si256(bytes, low), _mm256_and_si256(_mm256_srli_epi64(bytes, 4), low)};
}

TARGET static inline __m256i nibbles_product(const uint8_t table[2][16], struct nibbles factor)
{
    __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table[0]));
    __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table[1]));
    return _mm256_xor_si256(_mm256_shuffle_epi8(low, factor.low), _mm256_shuffle_epi8(high, factor.high));
}

#include "ymm_bytes.h"
#include "gf256_vector.h"

#endif
