#include "engines.h"

#include "cpu.h"

#include <string.h>

static struct usable_engines usable;
static struct engines in_use;

static void offer_gf256(bool works, const struct gf256_engine *engine)
{
    if (works)
        usable.gf256[usable.gf256_count++] = engine;
}

static void offer_aes(bool works, const struct aes_engine *engine)
{
    if (works)
        usable.aes[usable.aes_count++] = engine;
}

static void offer_sha256(bool works, const struct sha256_engine *engine)
{
    if (works)
        usable.sha256[usable.sha256_count++] = engine;
}

void engines_prepare(void)
{
    if (usable.gf256_count) /* another interpreter in this process was first */
        return;
    struct cpu_features cpu = cpu_features();
    (void)cpu;
#if HOLDFAST_X86_64
    offer_gf256(cpu.gfni && cpu.avx512, &gf256_gfni_avx512);
    offer_gf256(cpu.gfni && cpu.avx2, &gf256_gfni_avx2);
    offer_gf256(cpu.avx2, &gf256_avx2);
    offer_gf256(cpu.ssse3, &gf256_ssse3);
    offer_aes(cpu.vaes && cpu.avx512 && cpu.aes, &aes_vaes_avx512);
    offer_aes(cpu.aes, &aes_aes_ni);
    offer_sha256(cpu.sha, &sha256_sha_ni);
    offer_sha256(cpu.avx2, &sha256_avx2);
#elif HOLDFAST_AARCH64
    offer_gf256(cpu.neon, &gf256_neon);
    offer_aes(cpu.arm_aes, &aes_armv8);
    offer_sha256(cpu.arm_sha2, &sha256_armv8);
#endif
    offer_gf256(true, &gf256_portable);
    offer_aes(true, &aes_portable);
    offer_sha256(true, &sha256_portable);
    in_use = (struct engines){usable.gf256[0], usable.aes[0], usable.sha256[0]};
}

const struct usable_engines *engines_usable(void)
{
    return &usable;
}

struct engines engines_in_use(void)
{
    return in_use;
}

bool engines_use(const char *gf256, const char *aes, const char *sha256)
{
    struct engines chosen = {NULL, NULL, NULL};
    for (size_t i = 0; i < usable.gf256_count; i++)
        if (!strcmp(usable.gf256[i]->name, gf256))
            chosen.gf256 = usable.gf256[i];
    for (size_t i = 0; i < usable.aes_count; i++)
        if (!strcmp(usable.aes[i]->name, aes))
            chosen.aes = usable.aes[i];
    for (size_t i = 0; i < usable.sha256_count; i++)
        if (!strcmp(usable.sha256[i]->name, sha256))
            chosen.sha256 = usable.sha256[i];
    if (!chosen.gf256 || !chosen.aes || !chosen.sha256)
        return false;
    in_use = chosen;
    return true;
}

bool engines_use_path(const char *name)
{
    if (!strcmp(name, gf256_portable.name))
        return engines_use(name, aes_portable.name, sha256_portable.name);
    return engines_use(name, usable.aes[0]->name, usable.sha256[0]->name);
}
