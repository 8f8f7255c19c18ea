/* Products with GFNI and AVX-512: one instruction for 64 of them. */

#include "cpu.h"

#if HOLDFAST_X86_64

#include "gf256.h"

#include <immintrin.h>

#define TARGET __attribute__((target("gfni,avx512f,avx512bw")))
#define VECTOR __m512i
#define ZERO _mm512_setzero_si512()
#define ADD(a, b) _mm512_xor_si512(a, b)
#define FACTOR __m512i
#define PREPARE(vector) (vector)
#define PRODUCT(coefficient, factor) \
    _mm512_gf2p8affine_epi64_epi8(factor, _mm512_set1_epi64((long long)gf256_matrices[coefficient]), 0)
#define OUTPUTS 8
#define ENGINE gf256_gfni_avx512
#define ENGINE_NAME "gfni-avx512"

TARGET static inline __mmask64 first(size_t count)
{
    return ~(__mmask64)0 >> (64 - count);
}

TARGET static inline __m512i load(const uint8_t *from, size_t count)
{
    return _mm512_maskz_loadu_epi8(first(count), from);
}

TARGET static inline void store(uint8_t *to, __m512i vector, size_t count)
{
    _mm512_mask_storeu_epi8(to, first(count), vector);
}

#include "gf256_vector.h"

#endif
