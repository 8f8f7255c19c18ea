#include "paths.h"

#include "cpu.h"

#include <string.h>

static struct path available[8];
static size_t available_count;
static const struct path *in_use;

static void offer(const char *name, const struct gf256_engine *gf256, const struct aes_engine *aes,
                  const struct sha256_engine *sha256)
{
    available[available_count++] = (struct path){name, gf256, aes, sha256};
}

/* A path is named after its products; its cipher and its hash are the best that go with them. */
void paths_prepare(void)
{
    if (in_use) /* a second interpreter in this process */
        return;
    gf256_prepare();
    const struct cpu_features cpu = cpu_features();
#if HOLDFAST_X86_64
    const struct aes_engine *aes = cpu.aes ? &aes_aes_ni : &aes_portable;
    const struct sha256_engine *sha256 = cpu.sha ? &sha256_sha_ni : cpu.avx2 ? &sha256_avx2 : &sha256_portable;
    if (cpu.gfni && cpu.avx512)
        offer("gfni-avx512", &gf256_gfni_avx512, cpu.aes && cpu.vaes ? &aes_vaes_avx512 : aes,
              cpu.sha && cpu.avx512vl ? &sha256_sha_ni_avx512 : sha256);
    if (cpu.gfni && cpu.avx2)
        offer("gfni-avx2", &gf256_gfni_avx2, aes, sha256);
    if (cpu.avx2)
        offer("avx2", &gf256_avx2, aes, sha256);
    if (cpu.ssse3)
        offer("ssse3", &gf256_ssse3, aes, cpu.sha ? &sha256_sha_ni : &sha256_portable);
    if (cpu.avx2 && cpu.sha) /* what most processors before 2019 run; offered here for tests */
        offer("avx2-no-sha", &gf256_avx2, aes, &sha256_avx2);
#elif HOLDFAST_ARM_CRYPTOGRAPHY
    offer("neon", &gf256_neon, cpu.arm_aes ? &aes_armv8 : &aes_portable,
          cpu.arm_sha2 ? &sha256_armv8 : &sha256_portable);
#elif HOLDFAST_AARCH64
    (void)cpu;
    offer("neon", &gf256_neon, &aes_portable, &sha256_portable);
#else
    (void)cpu;
#endif
    offer("portable", &gf256_portable, &aes_portable, &sha256_portable);
    in_use = &available[0];
}

size_t paths_available(const struct path **first)
{
    *first = available;
    return available_count;
}

const struct path *path_in_use(void)
{
    return in_use;
}

bool path_force(const char *name)
{
    for (size_t i = 0; i < available_count; i++)
        if (strcmp(available[i].name, name) == 0) {
            in_use = &available[i];
            return true;
        }
    return false;
}
