/* Named choices of engines, and the one in use. */

#ifndef HOLDFAST_PATHS_H
#define HOLDFAST_PATHS_H

#include "aes.h"
#include "gf256.h"
#include "sha256.h"

#include <stdbool.h>
#include <stddef.h>

struct path {
    const char *name;
    const struct gf256_engine *gf256;
    const struct aes_engine *aes;
    const struct sha256_engine *sha256;
};

/* Finds out what this processor can run and chooses the best. Call it before anything else here. */
void paths_prepare(void);

/* All that can run here, the best first. */
size_t paths_available(const struct path **first);

const struct path *path_in_use(void);

/* Uses the path of that name from now on; calls under way end as they began. False: there is none. */
bool path_force(const char *name);

#endif
