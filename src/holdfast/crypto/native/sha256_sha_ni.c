/* SHA-256 with the SHA instructions of x86-64. Each waits for the one before it, so two messages at a time
 * take little longer than one. */

#include "cpu.h"

#if HOLDFAST_X86_64

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define LANES 2

#include "sha256_sha_ni.h"

const struct sha256_engine sha256_sha_ni = {"sha-ni", 2, 2, one, two, NULL};

#endif
