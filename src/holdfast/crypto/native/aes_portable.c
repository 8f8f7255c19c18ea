/* AES-128 in plain C, bit-sliced, so that no address and no branch depends on a key or on data; and the key
 * schedule of all paths.
 *
 * Four blocks (64 bytes) are held as eight words, "planes": bit i of planes[b] is bit b of byte i. A step of
 * the cipher that permutes bytes permutes the bits of each plane in the same way. Byte i of a block is row
 * i % 4 of column i / 4: a row of a block is a bit of a nibble, a column is a nibble. */

#include "aes.h"

#include <string.h>

enum { BATCH = 4 * AES_BLOCK };

#define IN_EACH_BLOCK(bits) ((bits) * 0x0001000100010001u)
#define IN_EACH_COLUMN(bits) ((bits) * 0x1111111111111111u)

static uint64_t load_word(const uint8_t *from)
{
    uint64_t word = 0;
    for (int i = 0; i < 8; i++)
        word |= (uint64_t)from[i] << 8 * i;
    return word;
}

static void store_word(uint8_t *to, uint64_t word)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(word >> 8 * i);
}

/* Transposes the 8x8 bits of a word whose rows are its bytes. */
static uint64_t transpose_bits(uint64_t x)
{
    uint64_t swap;
    swap = (x ^ x >> 7) & 0x00aa00aa00aa00aa;
    x ^= swap ^ swap << 7;
    swap = (x ^ x >> 14) & 0x0000cccc0000cccc;
    x ^= swap ^ swap << 14;
    swap = (x ^ x >> 28) & 0x00000000f0f0f0f0;
    return x ^ swap ^ swap << 28;
}

/* Transposes the 8x8 bytes of eight words. */
static void transpose_bytes(uint64_t words[8])
{
    static const uint64_t masks[3] = {0x00ff00ff00ff00ff, 0x0000ffff0000ffff, 0x00000000ffffffff};
    for (int step = 0; step < 3; step++) {
        int distance = 1 << step;
        for (int i = 0; i < 8; i++) {
            if (i & distance)
                continue;
            uint64_t swap = (words[i] >> 8 * distance ^ words[i + distance]) & masks[step];
            words[i + distance] ^= swap;
            words[i] ^= swap << 8 * distance;
        }
    }
}

static void to_planes(uint64_t planes[8], const uint8_t bytes[BATCH])
{
    for (int i = 0; i < 8; i++)
        planes[i] = transpose_bits(load_word(bytes + 8 * i));
    transpose_bytes(planes);
}

static void from_planes(uint8_t bytes[BATCH], uint64_t planes[8])
{
    transpose_bytes(planes);
    for (int i = 0; i < 8; i++)
        store_word(bytes + 8 * i, transpose_bits(planes[i]));
}

/* The S-box of all 64 bytes at once: the circuit of Boyar and Peralta, "A depth-16 circuit for the AES S-box"
 * (2011), in their names, but that u counts from the highest bit of the input, s of the output. */
static void sub_bytes(uint64_t q[8])
{
    const uint64_t u0 = q[7], u1 = q[6], u2 = q[5], u3 = q[4], u4 = q[3], u5 = q[2], u6 = q[1], u7 = q[0];

    /* linear layer at the top */
    const uint64_t y14 = u3 ^ u5, y13 = u0 ^ u6, y9 = u0 ^ u3, y8 = u0 ^ u5, t0 = u1 ^ u2;
    const uint64_t y1 = t0 ^ u7, y4 = y1 ^ u3, y12 = y13 ^ y14, y2 = y1 ^ u0, y5 = y1 ^ u6, y3 = y5 ^ y8;
    const uint64_t t1 = u4 ^ y12, y15 = t1 ^ u5, y20 = t1 ^ u1, y6 = y15 ^ u7, y10 = y15 ^ t0;
    const uint64_t y11 = y20 ^ y9, y7 = u7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8, y16 = t0 ^ y11;
    const uint64_t y21 = y13 ^ y16, y18 = u0 ^ y16;

    /* inversion in the field, by way of smaller ones */
    const uint64_t t2 = y12 & y15, t3 = y3 & y6, t4 = t3 ^ t2, t5 = y4 & u7, t6 = t5 ^ t2;
    const uint64_t t7 = y13 & y16, t8 = y5 & y1, t9 = t8 ^ t7, t10 = y2 & y7, t11 = t10 ^ t7;
    const uint64_t t12 = y9 & y11, t13 = y14 & y17, t14 = t13 ^ t12, t15 = y8 & y10, t16 = t15 ^ t12;
    const uint64_t t17 = t4 ^ t14, t18 = t6 ^ t16, t19 = t9 ^ t14, t20 = t11 ^ t16;
    const uint64_t t21 = t17 ^ y20, t22 = t18 ^ y19, t23 = t19 ^ y21, t24 = t20 ^ y18;
    const uint64_t t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26, t28 = t25 & t27, t29 = t28 ^ t22;
    const uint64_t t30 = t23 ^ t24, t31 = t22 ^ t26, t32 = t31 & t30, t33 = t32 ^ t24, t34 = t23 ^ t33;
    const uint64_t t35 = t27 ^ t33, t36 = t24 & t35, t37 = t36 ^ t34, t38 = t27 ^ t36, t39 = t29 & t38;
    const uint64_t t40 = t25 ^ t39, t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37;
    const uint64_t t45 = t42 ^ t41;
    const uint64_t z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & u7, z3 = t43 & y16, z4 = t40 & y1;
    const uint64_t z5 = t29 & y7, z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12;
    const uint64_t z10 = t37 & y3, z11 = t33 & y4, z12 = t43 & y13, z13 = t40 & y5, z14 = t29 & y2;
    const uint64_t z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;

    /* linear layer at the bottom */
    const uint64_t t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12;
    const uint64_t t51 = z2 ^ z5, t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17;
    const uint64_t t56 = z12 ^ t48, t57 = t50 ^ t53, t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57;
    const uint64_t t61 = z14 ^ t57, t62 = t52 ^ t58, t63 = t49 ^ t58, t64 = z4 ^ t59, t65 = t61 ^ t62;
    const uint64_t t66 = z1 ^ t63, t67 = t64 ^ t65, s3 = t53 ^ t66;

    q[7] = t59 ^ t63;
    q[6] = t64 ^ ~s3;
    q[5] = t55 ^ ~t67;
    q[4] = s3;
    q[3] = t51 ^ t66;
    q[2] = t47 ^ t65;
    q[1] = t56 ^ ~t62;
    q[0] = t48 ^ ~t60;
}

/* Row r moves r columns down; the last ones come first again. */
static void shift_rows(uint64_t planes[8])
{
    for (int b = 0; b < 8; b++) {
        uint64_t p = planes[b];
        planes[b] = (p & IN_EACH_BLOCK(0x1111u))
            | (p >> 4 & IN_EACH_BLOCK(0x0222u)) | (p << 12 & IN_EACH_BLOCK(0x2000u))
            | (p >> 8 & IN_EACH_BLOCK(0x0044u)) | (p << 8 & IN_EACH_BLOCK(0x4400u))
            | (p >> 12 & IN_EACH_BLOCK(0x0008u)) | (p << 4 & IN_EACH_BLOCK(0x8880u));
    }
}

/* Moves the next row, or the second next, of each column to where a row is. */
static uint64_t next_row(uint64_t p)
{
    return (p >> 1 & IN_EACH_COLUMN(0x7u)) | (p << 3 & IN_EACH_COLUMN(0x8u));
}

static uint64_t second_next_row(uint64_t p)
{
    return (p >> 2 & IN_EACH_COLUMN(0x3u)) | (p << 2 & IN_EACH_COLUMN(0xcu));
}

/* With a, b, c, d for a row and the ones after it, each becomes 2(a + b) + b + (c + d). */
static void mix_columns(uint64_t planes[8])
{
    uint64_t sums[8], others[8];
    for (int b = 0; b < 8; b++) {
        uint64_t next = next_row(planes[b]);
        sums[b] = planes[b] ^ next;
        others[b] = next ^ second_next_row(sums[b]);
    }
    uint64_t carry = sums[7]; /* reduced by x^8 = x^4 + x^3 + x + 1 */
    planes[0] = others[0] ^ carry;
    planes[1] = others[1] ^ sums[0] ^ carry;
    planes[2] = others[2] ^ sums[1];
    planes[3] = others[3] ^ sums[2] ^ carry;
    planes[4] = others[4] ^ sums[3] ^ carry;
    planes[5] = others[5] ^ sums[4];
    planes[6] = others[6] ^ sums[5];
    planes[7] = others[7] ^ sums[6];
}

static void add_round_key(uint64_t planes[8], const uint64_t round_planes[8])
{
    for (int b = 0; b < 8; b++)
        planes[b] ^= round_planes[b];
}

static void encrypt(const struct aes_key *key, uint64_t planes[8])
{
    add_round_key(planes, key->round_planes[0]);
    for (int round = 1; round <= AES_ROUNDS; round++) {
        sub_bytes(planes);
        shift_rows(planes);
        if (round < AES_ROUNDS)
            mix_columns(planes);
        add_round_key(planes, key->round_planes[round]);
    }
}

static void ctr(const struct aes_key *key, uint64_t counter, const uint8_t *in, uint8_t *out, size_t size)
{
    uint8_t stream[BATCH];
    uint64_t planes[8];
    while (size) {
        memset(stream, 0, BATCH);
        for (int block = 0; block < 4; block++)
            for (int i = 0; i < 8; i++) /* big-endian; no file reaches the upper 64 bits */
                stream[AES_BLOCK * block + 8 + i] = (uint8_t)((counter + (unsigned)block) >> 8 * (7 - i));
        to_planes(planes, stream);
        encrypt(key, planes);
        from_planes(stream, planes);
        size_t count = size < BATCH ? size : BATCH;
        for (size_t i = 0; i < count; i++)
            out[i] = in[i] ^ stream[i];
        in += count;
        out += count;
        size -= count;
        counter += 4;
    }
}

const struct aes_engine aes_portable = {"portable", ctr};

static void sub_word(uint8_t word[4])
{
    uint8_t bytes[BATCH] = {0};
    uint64_t planes[8];
    memcpy(bytes, word, 4);
    to_planes(planes, bytes);
    sub_bytes(planes);
    from_planes(bytes, planes);
    memcpy(word, bytes, 4);
}

void aes_expand_key(struct aes_key *key, const uint8_t bytes[AES_BLOCK])
{
    static const uint8_t constants[AES_ROUNDS] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36};
    memcpy(key->round_keys[0], bytes, AES_BLOCK);
    for (int round = 1; round <= AES_ROUNDS; round++) {
        const uint8_t *last = key->round_keys[round - 1];
        uint8_t *next = key->round_keys[round];
        uint8_t word[4] = {last[13], last[14], last[15], last[12]};
        sub_word(word);
        word[0] ^= constants[round - 1];
        for (int i = 0; i < AES_BLOCK; i++)
            next[i] = last[i] ^ (i < 4 ? word[i] : next[i - 4]);
    }
    for (int round = 0; round <= AES_ROUNDS; round++) {
        uint8_t repeated[BATCH];
        for (int block = 0; block < 4; block++)
            memcpy(repeated + AES_BLOCK * block, key->round_keys[round], AES_BLOCK);
        to_planes(key->round_planes[round], repeated);
    }
}
