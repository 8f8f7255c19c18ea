/* Products on vectors of bytes: what all instruction sets have in common. A file for one instruction set
 * defines these and then includes this one:
 *
 *   TARGET                      attribute that lets a function use the instructions
 *   VECTOR, ZERO, ADD(a, b)     a vector of bytes; all zero; sum in the field (XOR)
 *   FACTOR, PREPARE(vector)     what a source is turned into before it is multiplied
 *   PRODUCT(coefficient, factor)
 *   load(from, count), store(to, vector, count)   of the first `count` bytes of a vector
 *   OUTPUTS                     how many sums there are registers for, at most 8
 *   ENGINE, ENGINE_NAME */

#define INLINE TARGET static inline __attribute__((always_inline))

/* `output_count` and, but for the last time, `count` are constants where this is inlined. */
INLINE void combine_vectors(const size_t output_count, const uint8_t *rows, size_t source_count,
                            const uint8_t *const *sources, uint8_t *const *outputs, size_t at, const size_t count)
{
    VECTOR sums[OUTPUTS];
    for (size_t p = 0; p < output_count; p++)
        sums[p] = ZERO;
    for (size_t i = 0; i < source_count; i++) {
        FACTOR factor = PREPARE(load(sources[i] + at, count));
        for (size_t p = 0; p < output_count; p++)
            sums[p] = ADD(sums[p], PRODUCT(rows[p * source_count + i], factor));
    }
    for (size_t p = 0; p < output_count; p++)
        store(outputs[p] + at, sums[p], count);
}

INLINE void combine_all(const size_t output_count, const uint8_t *rows, size_t source_count,
                        const uint8_t *const *sources, uint8_t *const *outputs, size_t size)
{
    size_t at = 0;
    for (; at + sizeof(VECTOR) <= size; at += sizeof(VECTOR))
        combine_vectors(output_count, rows, source_count, sources, outputs, at, sizeof(VECTOR));
    if (at < size)
        combine_vectors(output_count, rows, source_count, sources, outputs, at, size - at);
}

#define CASE(count)                                                       \
    case count:                                                           \
        combine_all(count, rows, source_count, sources, outputs, size);   \
        break;

TARGET static void combine(const uint8_t *rows, size_t source_count, const uint8_t *const *sources,
                           size_t output_count, uint8_t *const *outputs, size_t size)
{
    switch (output_count) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
#if OUTPUTS == 8
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
#endif
    }
}

const struct gf256_engine ENGINE = {ENGINE_NAME, OUTPUTS, combine};
