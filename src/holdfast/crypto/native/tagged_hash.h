/* Tagged SHA-256d hashes, many at a time (docs/spec/hashing.md, section 3). */

#ifndef HOLDFAST_TAGGED_HASH_H
#define HOLDFAST_TAGGED_HASH_H

#include "sha256.h"

/* A SHA-256 of which a part of the message has been read. */
struct sha256_stream {
    uint32_t state[8];
    uint64_t size;                 /* bytes read so far */
    uint8_t pending[SHA256_BLOCK]; /* the last size % 64 of them */
};

/* One message to hash, or to read into a stream. */
struct hash_task {
    const struct sha256_stream *start; /* what comes before the data; its tag, say */
    const uint8_t *data;
    size_t size;
    struct sha256_stream *stream; /* receives the stream behind the data, unless NULL; may be `start` */
    uint8_t *digest;              /* else this receives the SHA-256d, 32 bytes */
};

/* Begins a stream with netstring(tag). */
void sha256_stream_tagged(struct sha256_stream *stream, const struct sha256_engine *engine, const uint8_t *tag,
                          size_t tag_size);

/* Carries out all tasks, as many at a time as the engine likes; the longest should come first. */
void hash_tasks_run(const struct sha256_engine *engine, const struct hash_task *tasks, size_t count);

#endif
