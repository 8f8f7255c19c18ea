/* Which engines this machine can run, and which are in use. */

#ifndef HOLDFAST_ENGINES_H
#define HOLDFAST_ENGINES_H

#include "aes.h"
#include "gf256.h"
#include "sha256.h"

#include <stdbool.h>

/* What one call works with. Take a copy, so that a change of mind meanwhile does no harm. */
struct engines {
    const struct gf256_engine *gf256;
    const struct aes_engine *aes;
    const struct sha256_engine *sha256;
};

enum { ENGINES_MAX = 6 };

/* Of each kind, best first. */
struct usable_engines {
    const struct gf256_engine *gf256[ENGINES_MAX];
    const struct aes_engine *aes[ENGINES_MAX];
    const struct sha256_engine *sha256[ENGINES_MAX];
    size_t gf256_count, aes_count, sha256_count;
};

/* Finds out what is usable, and chooses the best of each kind. Call it once, before anything else here. */
void engines_prepare(void);

const struct usable_engines *engines_usable(void);
struct engines engines_in_use(void);

/* A path is named after its products; cipher and hash are the best there are, but for "portable", which is
 * portable throughout. False: there is no such path here. */
bool engines_use_path(const char *name);

/* Any combination, for tests. False: one of them is not usable here. */
bool engines_use(const char *gf256, const char *aes, const char *sha256);

#endif
