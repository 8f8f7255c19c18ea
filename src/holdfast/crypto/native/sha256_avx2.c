/* SHA-256 of eight messages at a time with AVX2, for processors without SHA instructions: word j of a vector
 * belongs to message j. */

#include "cpu.h"

#if HOLDFAST_X86_64

#include "sha256.h"

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define INLINE AVX2 static inline __attribute__((always_inline))

#define ADD(a, b) _mm256_add_epi32(a, b)
#define XOR(a, b) _mm256_xor_si256(a, b)
#define AND(a, b) _mm256_and_si256(a, b)
#define OR(a, b) _mm256_or_si256(a, b)
#define SHR(x, count) _mm256_srli_epi32(x, count)
#define ROTR(x, count) OR(_mm256_srli_epi32(x, count), _mm256_slli_epi32(x, 32 - (count)))

/* Transposes 8x8 words. */
INLINE void transpose(__m256i rows[8])
{
    __m256i pairs[8], fours[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31);
    }
}

INLINE void load_half_block(__m256i w[8], const uint8_t *const *data, size_t at)
{
    const __m256i big_endian =
        _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
    for (int i = 0; i < 8; i++)
        w[i] = _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)(data[i] + at)), big_endian);
    transpose(w);
}

AVX2 static void eight(uint32_t *const *states, const uint8_t *const *data, size_t blocks)
{
    __m256i s[8];
    for (int i = 0; i < 8; i++)
        s[i] = _mm256_loadu_si256((const __m256i *)states[i]);
    transpose(s);

    for (size_t at = 0; at < blocks * SHA256_BLOCK; at += SHA256_BLOCK) {
        __m256i w[16]; /* the last 16 words of the message schedule */
        load_half_block(w, data, at);
        load_half_block(w + 8, data, at + SHA256_BLOCK / 2);
        __m256i a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
#pragma GCC unroll 64
        for (int t = 0; t < 64; t++) {
            __m256i *next = &w[t & 15];
            if (t >= 16) {
                __m256i w15 = w[(t + 1) & 15], w2 = w[(t + 14) & 15], w7 = w[(t + 9) & 15];
                __m256i sigma0 = XOR(XOR(ROTR(w15, 7), ROTR(w15, 18)), SHR(w15, 3));
                __m256i sigma1 = XOR(XOR(ROTR(w2, 17), ROTR(w2, 19)), SHR(w2, 10));
                *next = ADD(ADD(*next, w7), ADD(sigma0, sigma1));
            }
            __m256i sum0 = XOR(XOR(ROTR(a, 2), ROTR(a, 13)), ROTR(a, 22));
            __m256i sum1 = XOR(XOR(ROTR(e, 6), ROTR(e, 11)), ROTR(e, 25));
            __m256i choice = XOR(g, AND(e, XOR(f, g)));
            __m256i majority = OR(AND(a, b), AND(c, OR(a, b)));
            __m256i constant = _mm256_set1_epi32((int)sha256_constants[t]);
            __m256i t1 = ADD(ADD(ADD(h, constant), *next), ADD(sum1, choice));
            h = g;
            g = f;
            f = e;
            e = ADD(d, t1);
            d = c;
            c = b;
            b = a;
            a = ADD(t1, ADD(sum0, majority));
        }
        s[0] = ADD(s[0], a);
        s[1] = ADD(s[1], b);
        s[2] = ADD(s[2], c);
        s[3] = ADD(s[3], d);
        s[4] = ADD(s[4], e);
        s[5] = ADD(s[5], f);
        s[6] = ADD(s[6], g);
        s[7] = ADD(s[7], h);
    }
    transpose(s);
    for (int i = 0; i < 8; i++)
        _mm256_storeu_si256((__m256i *)states[i], s[i]);
}

const struct sha256_engine sha256_avx2 = {"avx2", 8, 3, sha256_portable_one, eight, NULL};

#endif
