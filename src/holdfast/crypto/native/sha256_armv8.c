/* SHA-256 with the cryptographic instructions of ARMv8, two messages at a time. */

#include "cpu.h"

#if HOLDFAST_ARM_CRYPTOGRAPHY

#include "sha256.h"

#include <arm_neon.h>

#if defined(__clang__)
#define ARM_SHA2 __attribute__((target("sha2")))
#else
#define ARM_SHA2 __attribute__((target("+crypto")))
#endif
#define INLINE ARM_SHA2 static inline __attribute__((always_inline))

/* `lanes` is a constant where this is inlined. */
INLINE void compress(const int lanes, uint32_t *const *states, const uint8_t *const *data, size_t blocks)
{
    uint32x4_t abcd[2], efgh[2];
    for (int i = 0; i < lanes; i++) {
        abcd[i] = vld1q_u32(states[i]);
        efgh[i] = vld1q_u32(states[i] + 4);
    }
    for (size_t at = 0; at < blocks * SHA256_BLOCK; at += SHA256_BLOCK) {
        uint32x4_t abcd_before[2], efgh_before[2], w[2][4]; /* w: the last 16 words of the message schedule */
        for (int i = 0; i < lanes; i++) {
            abcd_before[i] = abcd[i];
            efgh_before[i] = efgh[i];
        }
#pragma GCC unroll 16
        for (int four = 0; four < 16; four++) { /* four rounds each */
            const uint32x4_t constants = vld1q_u32(sha256_constants + 4 * four);
#pragma GCC unroll 2
            for (int i = 0; i < lanes; i++) {
                uint32x4_t *next = &w[i][four & 3];
                if (four < 4)
                    *next = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data[i] + at + 16 * four)));
                else
                    *next = vsha256su1q_u32(vsha256su0q_u32(*next, w[i][(four + 1) & 3]), w[i][(four + 2) & 3],
                                            w[i][(four + 3) & 3]);
                uint32x4_t terms = vaddq_u32(*next, constants), abcd_now = abcd[i];
                abcd[i] = vsha256hq_u32(abcd_now, efgh[i], terms);
                efgh[i] = vsha256h2q_u32(efgh[i], abcd_now, terms);
            }
        }
        for (int i = 0; i < lanes; i++) {
            abcd[i] = vaddq_u32(abcd[i], abcd_before[i]);
            efgh[i] = vaddq_u32(efgh[i], efgh_before[i]);
        }
    }
    for (int i = 0; i < lanes; i++) {
        vst1q_u32(states[i], abcd[i]);
        vst1q_u32(states[i] + 4, efgh[i]);
    }
}

ARM_SHA2 static void one(uint32_t state[8], const uint8_t *data, size_t blocks)
{
    compress(1, &state, &data, blocks);
}

ARM_SHA2 static void two(uint32_t *const *states, const uint8_t *const *data, size_t blocks)
{
    compress(2, states, data, blocks);
}

const struct sha256_engine sha256_armv8 = {"armv8", 2, 2, one, two, NULL};

#endif
