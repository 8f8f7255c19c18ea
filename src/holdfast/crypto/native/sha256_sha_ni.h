/* SHA-256 with the SHA instructions of x86-64: what the files for the registers that go with them have in common.
 * Such a file defines these and then includes this one:
 *
 *   TARGET   attribute that lets a function use the instructions
 *   LANES    how many messages there are registers for */

#include "sha256.h"

#include <immintrin.h>

#define INLINE TARGET static inline __attribute__((always_inline))

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

/* `lanes` is a constant where this is inlined, at most LANES.
 *
 * What four words of the message schedule add to later ones is worked out as soon as the four are there, so that
 * they need no registers until then. */
INLINE void compress(const int lanes, uint32_t *const *states, const uint8_t *const *data, size_t blocks)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef[LANES], cdgh[LANES];
    for (int i = 0; i < lanes; i++)
        load_state(states[i], &abef[i], &cdgh[i]);

    for (size_t at = 0; at < blocks * SHA256_BLOCK; at += SHA256_BLOCK) {
        __m128i abef_before[LANES], cdgh_before[LANES];
        __m128i newest[LANES];     /* the last four words of the message schedule so far */
        __m128i seventh[LANES];    /* the words seven before the next four */
        __m128i partial[LANES][4]; /* by four & 3: what the words 16 and 15 before add to the words to come */
#pragma GCC unroll 4
        for (int i = 0; i < lanes; i++) {
            abef_before[i] = abef[i];
            cdgh_before[i] = cdgh[i];
        }
#pragma GCC unroll 16
        for (int four = 0; four < 16; four++) { /* four rounds each */
            const __m128i constants = _mm_loadu_si128((const __m128i *)(sha256_constants + 4 * four));
#pragma GCC unroll 4
            for (int i = 0; i < lanes; i++) {
                __m128i w;
                if (four < 4)
                    w = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data[i] + at + 16 * four)), big_endian);
                else
                    w = _mm_sha256msg2_epu32(_mm_add_epi32(partial[i][four & 3], seventh[i]), newest[i]);
                if (four >= 3 && four < 15)
                    seventh[i] = _mm_alignr_epi8(w, newest[i], 4);
                if (four >= 1 && four < 13)
                    partial[i][(four + 3) & 3] = _mm_sha256msg1_epu32(newest[i], w);
                newest[i] = w;
                __m128i terms = _mm_add_epi32(w, constants);
                cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], terms);
                abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], _mm_shuffle_epi32(terms, 0x0e));
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < lanes; i++) {
            abef[i] = _mm_add_epi32(abef[i], abef_before[i]);
            cdgh[i] = _mm_add_epi32(cdgh[i], cdgh_before[i]);
        }
    }
    for (int i = 0; i < lanes; i++)
        store_state(states[i], abef[i], cdgh[i]);
}

TARGET static void one(uint32_t state[8], const uint8_t *data, size_t blocks)
{
    compress(1, &state, &data, blocks);
}

TARGET static void two(uint32_t *const *states, const uint8_t *const *data, size_t blocks)
{
    compress(2, states, data, blocks);
}
