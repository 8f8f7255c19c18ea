#include "segment.h"

#include <string.h>

enum { BLOCKS_MAX = GF256_SOURCES_MAX };

static const char SEGMENT_TAG[] = "allmydata_crypttext_segment_v1";
static const char BLOCK_TAG[] = "allmydata_encoded_subshare_v1";
static const char CRYPTTEXT_TAG[] = "allmydata_crypttext_v1";

static void begin(struct sha256_stream *stream, const struct path *path, const char *tag)
{
    sha256_stream_tagged(stream, path->sha256, (const uint8_t *)tag, strlen(tag));
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

void segment_cipher_init(struct segment_cipher *cipher, const uint8_t *key)
{
    cipher->transparent = !key;
    if (key)
        aes_expand_key(&cipher->key, key);
}

static void apply(const struct segment_cipher *cipher, const struct path *path, uint64_t offset, const uint8_t *in,
                  uint8_t *out, size_t size)
{
    if (!cipher->transparent)
        aes_ctr(path->aes, &cipher->key, offset, in, out, size);
    else if (in != out && size)
        memcpy(out, in, size);
}

void segment_encoder_init(struct segment_encoder *encoder, const struct path *path)
{
    begin(&encoder->crypttext, path, CRYPTTEXT_TAG);
}

static void make_check_blocks(const struct segment_encoder *encoder, const struct path *path, uint8_t *blocks,
                              size_t block_size)
{
    const size_t k = encoder->shares_needed, n = encoder->shares_total;
    const uint8_t *pieces[BLOCKS_MAX];
    uint8_t *check_blocks[BLOCKS_MAX];
    for (size_t i = 0; i < k; i++)
        pieces[i] = blocks + i * block_size;
    for (size_t j = k; j < n; j++)
        check_blocks[j - k] = blocks + j * block_size;
    gf256_multiply(path->gf256, encoder->rows, k, pieces, n - k, check_blocks, block_size);
}

void segment_encode(struct segment_encoder *encoder, const struct path *path, const uint8_t *plaintext, size_t size,
                    uint64_t offset, size_t block_size, uint8_t *out, uint8_t *segment_hash, uint8_t *block_hashes)
{
    apply(&encoder->cipher, path, offset, plaintext, out, size);
    memset(out + size, 0, encoder->shares_needed * block_size - size);
    make_check_blocks(encoder, path, out, block_size);

    struct sha256_stream segment, block;
    begin(&segment, path, SEGMENT_TAG);
    begin(&block, path, BLOCK_TAG);
    struct hash_task tasks[2 + BLOCKS_MAX];
    size_t count = 0;
    /* The first two read the same bytes, side by side where the engine hashes two messages at a time. */
    tasks[count++] = (struct hash_task){&encoder->crypttext, out, size, &encoder->crypttext, NULL};
    tasks[count++] = (struct hash_task){&segment, out, size, NULL, segment_hash};
    for (size_t j = 0; j < encoder->shares_total; j++)
        tasks[count++] = (struct hash_task){
            &block, out + j * block_size, block_size, NULL, block_hashes + j * SHA256_DIGEST,
        };
    hash_tasks_run(path->sha256, tasks, count);
}

void segment_crypttext_hash(const struct segment_encoder *encoder, const struct path *path, uint8_t *hash)
{
    const struct hash_task end = {&encoder->crypttext, NULL, 0, NULL, hash};
    hash_tasks_run(path->sha256, &end, 1);
}

/* Puts the pieces of the ciphertext in their places: copies those given, computes the missing ones. The last piece
 * with real bytes may be cut short; pieces behind it have none. */
static void rebuild(size_t k, const struct path *path, const struct segment_blocks *given, size_t size, uint8_t *out)
{
    const size_t block_size = given->block_size;
    const uint8_t *held[BLOCKS_MAX] = {NULL};
    for (size_t i = 0; i < k; i++)
        held[given->numbers[i]] = given->blocks[i];

    uint8_t *missing[BLOCKS_MAX];
    size_t missing_count = 0;
    for (size_t i = 0; i < k && i * block_size < size; i++) {
        uint8_t *place = out + i * block_size;
        size_t length = smaller(block_size, size - i * block_size);
        if (!held[i])
            missing[missing_count++] = place;
        else if (held[i] != place)
            memcpy(place, held[i], length);
    }
    if (!missing_count)
        return;

    size_t last_length = smaller(block_size, (size_t)(out + size - missing[missing_count - 1]));
    size_t whole_count = last_length == block_size ? missing_count : missing_count - 1;
    gf256_multiply(path->gf256, given->missing_rows, k, given->blocks, whole_count, missing, block_size);
    if (whole_count < missing_count)
        gf256_multiply(path->gf256, given->missing_rows + whole_count * k, k, given->blocks, 1,
                       missing + whole_count, last_length);
}

void segment_decode(const struct segment_decoder *decoder, const struct path *path,
                    const struct segment_blocks *given, uint64_t offset, size_t size, uint8_t *out,
                    uint8_t *segment_hash, uint8_t *block_hashes)
{
    const size_t k = decoder->shares_needed;
    rebuild(k, path, given, size, out);

    struct sha256_stream segment, block;
    begin(&segment, path, SEGMENT_TAG);
    begin(&block, path, BLOCK_TAG);
    struct hash_task tasks[1 + BLOCKS_MAX];
    tasks[0] = (struct hash_task){&segment, out, size, NULL, segment_hash};
    for (size_t i = 0; i < k; i++)
        tasks[1 + i] = (struct hash_task){
            &block, given->blocks[i], given->block_size, NULL, block_hashes + i * SHA256_DIGEST,
        };
    hash_tasks_run(path->sha256, tasks, 1 + k);

    apply(&decoder->cipher, path, offset, out, out, size);
}
