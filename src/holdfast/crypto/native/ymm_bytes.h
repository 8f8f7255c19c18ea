/* Part or all of a 32-byte vector, from and to memory. Needs TARGET. */

#include <string.h>

TARGET static inline __m256i load(const uint8_t *from, size_t count)
{
    __m256i vector = _mm256_setzero_si256();
    memcpy(&vector, from, count);
    return vector;
}

TARGET static inline void store(uint8_t *to, __m256i vector, size_t count)
{
    memcpy(to, &vector, count);
}
