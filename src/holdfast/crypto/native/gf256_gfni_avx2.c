/* Products with GFNI on processors without AVX-512: one instruction for 32 of them. */

#include "cpu.h"

#if HOLDFAST_X86_64

#include "gf256.h"

#include <immintrin.h>

#define TARGET __attribute__((target("gfni,avx2")))
#define VECTOR __m256i
#define ZERO _mm256_setzero_si256()
#define ADD(a, b) _mm256_xor_si256(a, b)
#define FACTOR __m256i
#define PREPARE(vector) (vector)
#define PRODUCT(coefficient, factor) \
    _mm256_gf2p8affine_epi64_epi8(factor, _mm256_set1_epi64x((long long)gf256_matrices[coefficient]), 0)
#define OUTPUTS 8
#define ENGINE gf256_gfni_avx2
#define ENGINE_NAME "gfni-avx2"

#include "ymm_bytes.h"
#include "gf256_vector.h"

#endif
