/* The tasks are dealt to as many lanes as the engine compresses together. A lane goes through the steps of its
 * task (what completes a pending block, whole blocks from the caller's memory, the padded end, the outer hash)
 * and then takes the next task, whatever the other lanes are at. */

#include "tagged_hash.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum step { HEAD, WHOLE_BLOCKS, END, OUTER, DONE };

struct lane {
    const struct hash_task *task; /* NULL: idle */
    enum step next;
    uint32_t state[8];
    const uint8_t *data; /* what to compress now */
    size_t blocks;
    const uint8_t *rest; /* what the task has not read yet */
    size_t rest_size;
    uint8_t buffer[2 * SHA256_BLOCK];
    size_t buffered; /* bytes of the message at its beginning, not compressed yet */
};

static void store_big_endian(uint8_t *to, uint64_t value, int size)
{
    for (int i = size - 1; i >= 0; i--, value >>= 8)
        to[i] = (uint8_t)value;
}

static void store_digest(uint8_t *to, const uint32_t state[8])
{
    for (int i = 0; i < 8; i++)
        store_big_endian(to + 4 * i, state[i], 4);
}

static void lane_begin(struct lane *lane, const struct hash_task *task)
{
    lane->task = task;
    lane->next = HEAD;
    lane->rest = task->data;
    lane->rest_size = task->size;
    lane->buffered = task->start->size % SHA256_BLOCK;
    memcpy(lane->state, task->start->state, sizeof lane->state);
    memcpy(lane->buffer, task->start->pending, lane->buffered);
}

static void buffer_some(struct lane *lane, size_t count)
{
    if (count)
        memcpy(lane->buffer + lane->buffered, lane->rest, count);
    lane->buffered += count;
    lane->rest += count;
    lane->rest_size -= count;
}

static void compress_next(struct lane *lane, const uint8_t *data, size_t blocks)
{
    lane->data = data;
    lane->blocks = blocks;
}

/* Pads the buffered bytes, the last of a message of `size` bytes: FIPS 180-4, section 5.1.1. */
static void compress_padded(struct lane *lane, uint64_t size)
{
    size_t blocks = lane->buffered + 9 <= SHA256_BLOCK ? 1 : 2;
    uint8_t *end = lane->buffer + blocks * SHA256_BLOCK;
    memset(lane->buffer + lane->buffered, 0, (size_t)(end - lane->buffer) - lane->buffered);
    lane->buffer[lane->buffered] = 0x80;
    store_big_endian(end - 8, size * 8, 8);
    compress_next(lane, lane->buffer, blocks);
}

static void save_stream(struct sha256_stream *stream, const struct lane *lane)
{
    stream->size = lane->task->start->size + lane->task->size;
    memcpy(stream->state, lane->state, sizeof stream->state);
    memcpy(stream->pending, lane->buffer, lane->buffered);
}

/* Finds the next blocks to compress. False: the task is done. */
static bool lane_advance(struct lane *lane)
{
    const struct hash_task *task = lane->task;
    switch (lane->next) {
    case HEAD:
        lane->next = WHOLE_BLOCKS;
        if (lane->buffered && lane->buffered + lane->rest_size >= SHA256_BLOCK) {
            buffer_some(lane, SHA256_BLOCK - lane->buffered);
            lane->buffered = 0;
            compress_next(lane, lane->buffer, 1);
            return true;
        } /* fall through */
    case WHOLE_BLOCKS:
        lane->next = END;
        if (!lane->buffered && lane->rest_size >= SHA256_BLOCK) {
            size_t blocks = lane->rest_size / SHA256_BLOCK;
            compress_next(lane, lane->rest, blocks);
            lane->rest += blocks * SHA256_BLOCK;
            lane->rest_size -= blocks * SHA256_BLOCK;
            return true;
        } /* fall through */
    case END:
        buffer_some(lane, lane->rest_size);
        if (task->stream) {
            save_stream(task->stream, lane);
            return false;
        }
        lane->next = OUTER;
        compress_padded(lane, task->start->size + task->size);
        return true;
    case OUTER:
        lane->next = DONE;
        store_digest(lane->buffer, lane->state);
        lane->buffered = SHA256_DIGEST;
        memcpy(lane->state, sha256_initial, sizeof lane->state);
        compress_padded(lane, SHA256_DIGEST);
        return true;
    case DONE:
        break;
    }
    store_digest(task->digest, lane->state);
    return false;
}

/* Where one message is much of the whole, the others end long before it in any case, and more lanes only slow it
 * down. */
static const struct sha256_engine *engine_for(const struct sha256_engine *engine, const struct hash_task *tasks,
                                              size_t count)
{
    size_t longest = 0, total = 0;
    for (size_t i = 0; i < count; i++) {
        longest = tasks[i].size > longest ? tasks[i].size : longest;
        total += tasks[i].size;
    }
    return engine->narrower && total / 3 < longest ? engine->narrower : engine;
}

static void compress_lanes(const struct sha256_engine *engine, struct lane *const *busy, size_t count, size_t blocks)
{
    if (engine->narrower && count <= engine->narrower->lanes)
        engine = engine->narrower;
    if (count < engine->lanes_min || !engine->many) {
        for (size_t i = 0; i < count; i++)
            engine->one(busy[i]->state, busy[i]->data, blocks);
        return;
    }
    uint32_t *states[SHA256_LANES_MAX], unused[SHA256_LANES_MAX][8] = {{0}};
    const uint8_t *data[SHA256_LANES_MAX];
    for (size_t l = 0; l < engine->lanes; l++) {
        states[l] = l < count ? busy[l]->state : unused[l];
        data[l] = busy[l < count ? l : 0]->data;
    }
    engine->many(states, data, blocks);
}

void hash_tasks_run(const struct sha256_engine *engine, const struct hash_task *tasks, size_t count)
{
    struct lane lanes[SHA256_LANES_MAX];
    engine = engine_for(engine, tasks, count);
    for (size_t l = 0; l < engine->lanes; l++) {
        lanes[l].task = NULL;
        lanes[l].blocks = 0;
    }

    for (;;) {
        struct lane *busy[SHA256_LANES_MAX];
        size_t busy_count = 0, blocks = SIZE_MAX;
        for (size_t l = 0; l < engine->lanes; l++) {
            struct lane *lane = &lanes[l];
            while (!lane->blocks && (!lane->task || !lane_advance(lane))) {
                lane->task = NULL;
                if (!count)
                    break;
                lane_begin(lane, tasks++);
                count--;
            }
            if (lane->blocks) {
                busy[busy_count++] = lane;
                blocks = lane->blocks < blocks ? lane->blocks : blocks;
            }
        }
        if (!busy_count)
            return;
        compress_lanes(engine, busy, busy_count, blocks);
        for (size_t i = 0; i < busy_count; i++) {
            busy[i]->data += blocks * SHA256_BLOCK;
            busy[i]->blocks -= blocks;
        }
    }
}

void sha256_stream_tagged(struct sha256_stream *stream, const struct sha256_engine *engine, const uint8_t *tag,
                          size_t tag_size)
{
    char length[24];
    size_t length_size = (size_t)snprintf(length, sizeof length, "%zu:", tag_size);
    const struct {
        const uint8_t *data;
        size_t size;
    } parts[3] = {{(const uint8_t *)length, length_size}, {tag, tag_size}, {(const uint8_t *)",", 1}};

    stream->size = 0;
    memcpy(stream->state, sha256_initial, sizeof stream->state);
    for (int i = 0; i < 3; i++) {
        const struct hash_task read = {stream, parts[i].data, parts[i].size, stream, NULL};
        hash_tasks_run(engine, &read, 1);
    }
}
