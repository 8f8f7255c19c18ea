/* SHA-256 with the SHA instructions and the 32 registers of AVX-512, which hold four messages. Processors that
 * begin more than one of these instructions while another is under way hash four in less time than twice two. */

#include "cpu.h"

#if HOLDFAST_X86_64

#define TARGET __attribute__((target("sha,avx2,avx512f,avx512bw,avx512vl")))
#define LANES 4

#include "sha256_sha_ni.h"

TARGET static void four(uint32_t *const *states, const uint8_t *const *data, size_t blocks)
{
    compress(4, states, data, blocks);
}

static const struct sha256_engine two_lanes = {"sha-ni-avx512, two lanes", 2, 2, one, two, NULL};

const struct sha256_engine sha256_sha_ni_avx512 = {"sha-ni-avx512", 4, 3, one, four, &two_lanes};

#endif
