/* AES-128 with the cryptographic instructions of ARMv8. */

#include "cpu.h"

#if HOLDFAST_ARM_CRYPTOGRAPHY

#include "aes.h"

#include <arm_neon.h>

#if defined(__clang__)
#define ARM_AES __attribute__((target("aes")))
#else
#define ARM_AES __attribute__((target("+crypto")))
#endif

enum { AT_ONCE = 8, BATCH = AT_ONCE * AES_BLOCK }; /* blocks in flight, to hide how long a round takes */

ARM_AES static void ctr(const struct aes_key *key, uint64_t counter, const uint8_t *in, uint8_t *out, size_t size)
{
    uint8x16_t round_keys[AES_ROUNDS + 1];
    for (int round = 0; round <= AES_ROUNDS; round++)
        round_keys[round] = vld1q_u8(key->round_keys[round]);

    while (size) {
        uint8x16_t x[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            uint64_t big_endian = __builtin_bswap64(counter + (unsigned)i);
            x[i] = vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(0), vcreate_u64(big_endian)));
        }
        for (int round = 0; round < AES_ROUNDS - 1; round++)
            for (int i = 0; i < AT_ONCE; i++)
                x[i] = vaesmcq_u8(vaeseq_u8(x[i], round_keys[round]));
        for (int i = 0; i < AT_ONCE; i++)
            x[i] = veorq_u8(vaeseq_u8(x[i], round_keys[AES_ROUNDS - 1]), round_keys[AES_ROUNDS]);

        if (size < BATCH) {
            uint8_t stream[BATCH];
            for (int i = 0; i < AT_ONCE; i++)
                vst1q_u8(stream + AES_BLOCK * i, x[i]);
            for (size_t i = 0; i < size; i++)
                out[i] = in[i] ^ stream[i];
            return;
        }
        for (int i = 0; i < AT_ONCE; i++)
            vst1q_u8(out + AES_BLOCK * i, veorq_u8(x[i], vld1q_u8(in + AES_BLOCK * i)));
        in += BATCH;
        out += BATCH;
        size -= BATCH;
        counter += AT_ONCE;
    }
}

const struct aes_engine aes_armv8 = {"armv8", ctr};

#endif
