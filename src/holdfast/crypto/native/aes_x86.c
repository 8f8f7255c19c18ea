/* AES-128 with the instructions of x86-64: AES-NI on one block at a time, VAES on four. */

#include "cpu.h"

#if HOLDFAST_X86_64

#include "aes.h"

#include <immintrin.h>
#include <string.h>

#define AES_NI __attribute__((target("aes,sse4.1,ssse3")))
#define VAES __attribute__((target("vaes,avx512f,avx512bw,aes")))

enum { AT_ONCE = 8 }; /* instructions in flight, to hide how long each takes */

AES_NI static void ctr_aes_ni(const struct aes_key *key, uint64_t counter, const uint8_t *in, uint8_t *out,
                              size_t size)
{
    enum { BATCH = AT_ONCE * AES_BLOCK };
    __m128i round_keys[AES_ROUNDS + 1];
    for (int round = 0; round <= AES_ROUNDS; round++)
        round_keys[round] = _mm_loadu_si128((const __m128i *)key->round_keys[round]);

    while (size) {
        __m128i x[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            uint64_t big_endian = __builtin_bswap64(counter + (unsigned)i);
            x[i] = _mm_xor_si128(_mm_set_epi64x((long long)big_endian, 0), round_keys[0]);
        }
        for (int round = 1; round < AES_ROUNDS; round++)
            for (int i = 0; i < AT_ONCE; i++)
                x[i] = _mm_aesenc_si128(x[i], round_keys[round]);
        for (int i = 0; i < AT_ONCE; i++)
            x[i] = _mm_aesenclast_si128(x[i], round_keys[AES_ROUNDS]);

        if (size < BATCH) {
            uint8_t stream[BATCH];
            memcpy(stream, x, BATCH);
            for (size_t i = 0; i < size; i++)
                out[i] = in[i] ^ stream[i];
            return;
        }
        for (int i = 0; i < AT_ONCE; i++) {
            __m128i data = _mm_loadu_si128((const __m128i *)in + i);
            _mm_storeu_si128((__m128i *)out + i, _mm_xor_si128(x[i], data));
        }
        in += BATCH;
        out += BATCH;
        size -= BATCH;
        counter += AT_ONCE;
    }
}

const struct aes_engine aes_aes_ni = {"aes-ni", ctr_aes_ni};

/* Turns vectors of four counters, as little-endian numbers in the lower halves, into the next key stream. */
VAES static inline __attribute__((always_inline)) void next_stream(__m512i *stream, const int count,
                                                                   __m512i *counters, const __m512i *round_keys)
{
    const __m512i reversed = _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m512i four = _mm512_set_epi64(0, 4, 0, 4, 0, 4, 0, 4);
    for (int i = 0; i < count; i++) {
        stream[i] = _mm512_xor_si512(_mm512_shuffle_epi8(*counters, reversed), round_keys[0]);
        *counters = _mm512_add_epi64(*counters, four);
    }
    for (int round = 1; round < AES_ROUNDS; round++)
        for (int i = 0; i < count; i++)
            stream[i] = _mm512_aesenc_epi128(stream[i], round_keys[round]);
    for (int i = 0; i < count; i++)
        stream[i] = _mm512_aesenclast_epi128(stream[i], round_keys[AES_ROUNDS]);
}

VAES static void ctr_vaes(const struct aes_key *key, uint64_t counter, const uint8_t *in, uint8_t *out, size_t size)
{
    enum { VECTOR = sizeof(__m512i), BATCH = AT_ONCE * VECTOR };
    __m512i round_keys[AES_ROUNDS + 1], stream[AT_ONCE];
    for (int round = 0; round <= AES_ROUNDS; round++)
        round_keys[round] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)key->round_keys[round]));
    long long c = (long long)counter;
    __m512i counters = _mm512_set_epi64(0, c + 3, 0, c + 2, 0, c + 1, 0, c);

    for (; size >= BATCH; in += BATCH, out += BATCH, size -= BATCH) {
        next_stream(stream, AT_ONCE, &counters, round_keys);
        for (int i = 0; i < AT_ONCE; i++) {
            __m512i data = _mm512_loadu_si512(in + VECTOR * i);
            _mm512_storeu_si512(out + VECTOR * i, _mm512_xor_si512(stream[i], data));
        }
    }
    while (size) {
        size_t count = size < VECTOR ? size : VECTOR;
        __mmask64 first = ~(__mmask64)0 >> (VECTOR - count);
        next_stream(stream, 1, &counters, round_keys);
        __m512i data = _mm512_maskz_loadu_epi8(first, in);
        _mm512_mask_storeu_epi8(out, first, _mm512_xor_si512(stream[0], data));
        in += count;
        out += count;
        size -= count;
    }
}

const struct aes_engine aes_vaes_avx512 = {"vaes-avx512", ctr_vaes};

#endif
