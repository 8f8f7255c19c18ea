#include "aes.h"

void aes_forget_key(struct aes_key *key)
{
    volatile uint8_t *bytes = (volatile uint8_t *)key;
    for (size_t i = 0; i < sizeof *key; i++)
        bytes[i] = 0;
}

void aes_ctr(const struct aes_engine *engine, const struct aes_key *key, uint64_t offset, const uint8_t *in,
             uint8_t *out, size_t size)
{
    uint64_t counter = offset / AES_BLOCK;
    size_t skip = offset % AES_BLOCK;

    if (skip && size) { /* begin within a block */
        uint8_t stream[AES_BLOCK] = {0};
        size_t head = AES_BLOCK - skip < size ? AES_BLOCK - skip : size;
        engine->ctr(key, counter++, stream, stream, AES_BLOCK);
        for (size_t i = 0; i < head; i++)
            out[i] = in[i] ^ stream[skip + i];
        in += head;
        out += head;
        size -= head;
    }
    if (size)
        engine->ctr(key, counter, in, out, size);
}
