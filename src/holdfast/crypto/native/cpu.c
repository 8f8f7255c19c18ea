#include "cpu.h"

#if HOLDFAST_X86_64

#include <cpuid.h>
#include <stdint.h>

/* Register sets the operating system saves on a task switch: Intel's manual, volume 1, section 13.3. */
enum { SAVES_YMM = 0x06, SAVES_ZMM = 0xe6 };

static uint64_t enabled_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool bit(unsigned word, unsigned number)
{
    return word >> number & 1;
}

/* Numbers of the bits: Intel's manual, volume 2, CPUID, leaves 1 and 7. */
struct cpu_features cpu_features(void)
{
    struct cpu_features cpu = {0};
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return cpu;
    cpu.ssse3 = bit(c, 9);
    cpu.sse41 = bit(c, 19);
    cpu.aes = bit(c, 25) && cpu.sse41;
    uint64_t saved = bit(c, 27) ? enabled_state() : 0;
    bool avx = bit(c, 28) && (saved & SAVES_YMM) == SAVES_YMM;

    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return cpu;
    cpu.sha = bit(b, 29) && cpu.sse41 && cpu.ssse3;
    cpu.avx2 = avx && bit(b, 5);
    cpu.gfni = bit(c, 8);
    cpu.avx512 = cpu.avx2 && (saved & SAVES_ZMM) == SAVES_ZMM && bit(b, 16) && bit(b, 30); /* F and BW */
    cpu.avx512vl = cpu.avx512 && bit(b, 31);
    cpu.vaes = bit(c, 9);
    return cpu;
}

#elif HOLDFAST_AARCH64

#if defined(__linux__)

#include <sys/auxv.h>

enum { HWCAP_BIT_AES = 3, HWCAP_BIT_SHA2 = 6 }; /* asm/hwcap.h of Linux */

struct cpu_features cpu_features(void)
{
    unsigned long capabilities = getauxval(AT_HWCAP);
    return (struct cpu_features){
        .neon = true,
        .arm_aes = capabilities >> HWCAP_BIT_AES & 1,
        .arm_sha2 = capabilities >> HWCAP_BIT_SHA2 & 1,
    };
}

#else

struct cpu_features cpu_features(void)
{
#if defined(__APPLE__) /* every processor of this kind that Apple sold has both */
    bool cryptography = true;
#else
    bool cryptography = false;
#endif
    return (struct cpu_features){.neon = true, .arm_aes = cryptography, .arm_sha2 = cryptography};
}

#endif

#else

struct cpu_features cpu_features(void)
{
    return (struct cpu_features){0};
}

#endif
