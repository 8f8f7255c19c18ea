/* What this processor can run, and the operating system on it allows. */

#ifndef HOLDFAST_CPU_H
#define HOLDFAST_CPU_H

#include <stdbool.h>

#if defined(__GNUC__) && defined(__x86_64__)
#define HOLDFAST_X86_64 1
#elif defined(__GNUC__) && defined(__aarch64__) && defined(__ARM_NEON) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HOLDFAST_AARCH64 1
#endif

/* Clang before 16 knows these instructions only where all code may use them, as on Apple's systems. */
#if HOLDFAST_AARCH64 && (!defined(__clang__) || __clang_major__ >= 16 || defined(__ARM_FEATURE_CRYPTO))
#define HOLDFAST_ARM_CRYPTOGRAPHY 1
#endif

struct cpu_features {
    /* x86-64; those that need wide registers are set only if the operating system saves these. */
    bool ssse3, sse41, aes, sha, avx2, gfni, avx512, avx512vl, vaes;
    /* AArch64 */
    bool neon, arm_aes, arm_sha2;
};

struct cpu_features cpu_features(void);

#endif
