/* SHA-256 with the SHA instructions of x86-64. Each waits for the one before it, so two messages at a time
 * take little longer than one. */

#include "cpu.h"

#if HOLDFAST_X86_64

#include "sha256.h"

#include <immintrin.h>

#define SHA_NI __attribute__((target("sha,sse4.1,ssse3")))
#define INLINE SHA_NI static inline __attribute__((always_inline))

/* The instructions want the state as two vectors, from high to low: A B E F, and C D G H. */
INLINE void load_state(const uint32_t *state, __m128i *abef, __m128i *cdgh)
{
    __m128i dcba = _mm_loadu_si128((const __m128i *)state), hgfe = _mm_loadu_si128((const __m128i *)(state + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    *abef = _mm_alignr_epi8(cdab, efgh, 8);
    *cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
}

INLINE void store_state(uint32_t *state, __m128i abef, __m128i cdgh)
{
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* `lanes` is a constant where this is inlined. */
INLINE void compress(const int lanes, uint32_t *const *states, const uint8_t *const *data, size_t blocks)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef[2], cdgh[2];
    for (int i = 0; i < lanes; i++)
        load_state(states[i], &abef[i], &cdgh[i]);

    for (size_t at = 0; at < blocks * SHA256_BLOCK; at += SHA256_BLOCK) {
        __m128i abef_before[2], cdgh_before[2], w[2][4]; /* w: the last 16 words of the message schedule */
        for (int i = 0; i < lanes; i++) {
            abef_before[i] = abef[i];
            cdgh_before[i] = cdgh[i];
        }
#pragma GCC unroll 16
        for (int four = 0; four < 16; four++) { /* four rounds each */
            const __m128i constants = _mm_loadu_si128((const __m128i *)(sha256_constants + 4 * four));
#pragma GCC unroll 2
            for (int i = 0; i < lanes; i++) {
                __m128i *next = &w[i][four & 3];
                if (four < 4) {
                    *next = _mm_loadu_si128((const __m128i *)(data[i] + at + 16 * four));
                    *next = _mm_shuffle_epi8(*next, big_endian);
                } else {
                    __m128i w16 = *next, w12 = w[i][(four + 1) & 3], w8 = w[i][(four + 2) & 3];
                    __m128i w4 = w[i][(four + 3) & 3], w7 = _mm_alignr_epi8(w4, w8, 4);
                    *next = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w16, w12), w7), w4);
                }
                __m128i terms = _mm_add_epi32(*next, constants);
                cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], terms);
                abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], _mm_shuffle_epi32(terms, 0x0e));
            }
        }
        for (int i = 0; i < lanes; i++) {
            abef[i] = _mm_add_epi32(abef[i], abef_before[i]);
            cdgh[i] = _mm_add_epi32(cdgh[i], cdgh_before[i]);
        }
    }
    for (int i = 0; i < lanes; i++)
        store_state(states[i], abef[i], cdgh[i]);
}

SHA_NI static void one(uint32_t state[8], const uint8_t *data, size_t blocks)
{
    compress(1, &state, &data, blocks);
}

SHA_NI static void two(uint32_t *const *states, const uint8_t *const *data, size_t blocks)
{
    compress(2, states, data, blocks);
}

const struct sha256_engine sha256_sha_ni = {"sha-ni", 2, 2, one, two};

#endif
