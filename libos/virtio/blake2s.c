// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// BLAKE2s with a 32-byte digest and no key, RFC 7693, 2.1 and 3.
#include "libos/virtio/chacha20.h"

#include <stdbool.h>
#include <string.h>

static const uint32_t iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
static const uint8_t sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint32_t rotr(uint32_t v, unsigned by)
{
    return v >> by | v << (32 - by);
}

static void mix(uint32_t v[16], unsigned a, unsigned b, unsigned c, unsigned d, uint32_t x,
                uint32_t y)
{
    v[a] += v[b] + x;
    v[d] = rotr(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotr(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = rotr(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = rotr(v[b] ^ v[c], 7);
}

static void compress(struct blake2s *s, bool last)
{
    uint32_t m[16], v[16];
    memcpy(m, s->block, sizeof(m)); // little-endian words, as x86
    memcpy(v, s->h, sizeof(s->h));
    memcpy(v + 8, iv, sizeof(iv));
    v[12] ^= (uint32_t)s->bytes;
    v[13] ^= (uint32_t)(s->bytes >> 32);
    v[14] = last ? ~v[14] : v[14];
    for (unsigned r = 0; r < 10; r++) {
        const uint8_t *p = sigma[r];
        for (unsigned i = 0; i < 4; i++) { // columns
            mix(v, i, 4 + i, 8 + i, 12 + i, m[p[2 * i]], m[p[2 * i + 1]]);
        }
        for (unsigned i = 0; i < 4; i++) { // diagonals
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[p[8 + 2 * i]],
                m[p[9 + 2 * i]]);
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        s->h[i] ^= v[i] ^ v[8 + i];
    }
}

void blake2s_init(struct blake2s *s)
{
    memset(s, 0, sizeof(*s));
    memcpy(s->h, iv, sizeof(iv));
    s->h[0] ^= 0x01010000u ^ 32u; // parameter block: fanout 1, depth 1, digest of 32 bytes
}

void blake2s_update(struct blake2s *s, const void *data, size_t bytes)
{
    const uint8_t *in = data;
    while (bytes) {
        if (s->fill == 64) { // the last block has to wait for blake2s_final
            compress(s, false);
            s->fill = 0;
        }
        size_t n = bytes < 64 - s->fill ? bytes : 64 - s->fill;
        memcpy(s->block + s->fill, in, n);
        s->fill += n;
        s->bytes += n;
        in += n;
        bytes -= n;
    }
}

void blake2s_final(struct blake2s *s, uint8_t out[32])
{
    memset(s->block + s->fill, 0, 64 - s->fill);
    compress(s, true);
    memcpy(out, s->h, 32);
}
