/* Interior nodes of hash trees (docs/spec/hashing.md, section 7.2). */

#ifndef HOLDFAST_MERKLE_H
#define HOLDFAST_MERKLE_H

#include "paths.h"

/* Writes the parents of 2 * count nodes, 32 bytes each. */
void merkle_parents(const struct path *path, const uint8_t *nodes, size_t count, uint8_t *parents);

#endif
