// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Fast key erasure over ChaCha20; see drbg.h.
#include "libos/virtio/drbg.h"

#include "libos/virtio/chacha20.h"

#include <string.h>

static const uint8_t no_nonce[12];

void drbg_wipe(void *data, size_t bytes)
{
    memset(data, 0, bytes);
    __asm__ volatile("" ::"r"(data) : "memory");
}

void drbg_mix(struct drbg *g, const void *data, size_t bytes)
{
    struct blake2s hash;
    blake2s_init(&hash);
    blake2s_update(&hash, g->key, sizeof(g->key));
    blake2s_update(&hash, data, bytes);
    blake2s_final(&hash, g->key);
    drbg_wipe(&hash, sizeof(hash));
}

void drbg_next(struct drbg *g, uint8_t one_time_key[32])
{
    uint8_t block[64];
    chacha20_block(g->key, 0, no_nonce, block);
    memcpy(g->key, block, 32);
    memcpy(one_time_key, block + 32, 32);
    drbg_wipe(block, sizeof(block));
}

void drbg_expand(uint8_t one_time_key[32], void *out, size_t bytes)
{
    uint8_t block[64], nonce[12] = {0};
    uint8_t *to = out;
    for (uint64_t i = 0; bytes; i++) {
        uint32_t high = (uint32_t)(i >> 32);
        memcpy(nonce, &high, sizeof(high));
        chacha20_block(one_time_key, (uint32_t)i, nonce, block);
        size_t n = bytes < 64 ? bytes : 64;
        memcpy(to, block, n);
        to += n;
        bytes -= n;
    }
    drbg_wipe(block, sizeof(block));
    drbg_wipe(one_time_key, 32);
}
