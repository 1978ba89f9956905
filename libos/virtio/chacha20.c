// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ChaCha20 block function, RFC 8439, 2.1–2.3.
#include "libos/virtio/chacha20.h"

#include <string.h>

static uint32_t rotl(uint32_t v, unsigned by)
{
    return v << by | v >> (32 - by);
}

static void quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *a += *b;
    *d = rotl(*d ^ *a, 16);
    *c += *d;
    *b = rotl(*b ^ *c, 12);
    *a += *b;
    *d = rotl(*d ^ *a, 8);
    *c += *d;
    *b = rotl(*b ^ *c, 7);
}

void chacha20_block(const uint8_t key[32], uint32_t counter, const uint8_t nonce[12],
                    uint8_t out[64])
{
    uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    memcpy(&start[4], key, 32); // little-endian words, as x86
    start[12] = counter;
    memcpy(&start[13], nonce, 12);
    uint32_t x[16];
    memcpy(x, start, sizeof(x));
    for (int round = 0; round < 10; round++) {
        for (unsigned i = 0; i < 4; i++) {
            quarter(&x[i], &x[4 + i], &x[8 + i], &x[12 + i]);
        }
        for (unsigned i = 0; i < 4; i++) {
            quarter(&x[i], &x[4 + (i + 1) % 4], &x[8 + (i + 2) % 4], &x[12 + (i + 3) % 4]);
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        x[i] += start[i];
    }
    memcpy(out, x, 64);
}
