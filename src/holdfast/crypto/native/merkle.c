#include "merkle.h"

#include "tagged_hash.h"

#include <string.h>

enum { BATCH = 16, NODE = SHA256_DIGEST, NODE_TEXT = 3 + NODE + 1, TEXT = 2 * NODE_TEXT };

/* Writes netstring(node). */
static void write_node(uint8_t to[NODE_TEXT], const uint8_t *node)
{
    memcpy(to, "32:", 3);
    memcpy(to + 3, node, NODE);
    to[3 + NODE] = ',';
}

void merkle_parents(const struct path *path, const uint8_t *nodes, size_t count, uint8_t *parents)
{
    static const char tag[] = "Merkle tree internal node";
    struct sha256_stream tagged;
    sha256_stream_tagged(&tagged, path->sha256, (const uint8_t *)tag, sizeof tag - 1);

    uint8_t texts[BATCH][TEXT];
    struct hash_task tasks[BATCH];
    while (count) {
        size_t batch = count < BATCH ? count : BATCH;
        for (size_t i = 0; i < batch; i++, nodes += 2 * NODE, parents += NODE) {
            write_node(texts[i], nodes);
            write_node(texts[i] + NODE_TEXT, nodes + NODE);
            tasks[i] = (struct hash_task){&tagged, texts[i], TEXT, NULL, parents};
        }
        hash_tasks_run(path->sha256, tasks, batch);
        count -= batch;
    }
}
