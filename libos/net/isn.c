// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// TCP initial sequence numbers (RFC 6528, section 3), with SipHash-2-4 (Aumasson, Bernstein 2012)
// as F.
#include "libos/net/isn.h"

#include <string.h>

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void rounds(uint64_t v[4], int count)
{
    while (count--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

uint64_t net_siphash(const uint8_t key[16], const uint8_t *data, size_t bytes)
{
    uint64_t k0, k1, word;
    memcpy(&k0, key, 8);
    memcpy(&k1, key + 8, 8);
    // The constants spell "somepseudorandomlygeneratedbytes".
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                     k1 ^ 0x7465646279746573};
    size_t left = bytes;
    for (; left >= 8; left -= 8, data += 8) {
        memcpy(&word, data, 8);
        v[3] ^= word;
        rounds(v, 2);
        v[0] ^= word;
    }
    word = (uint64_t)bytes << 56;
    for (size_t i = 0; i < left; i++)
        word |= (uint64_t)data[i] << (8 * i);
    v[3] ^= word;
    rounds(v, 2);
    v[0] ^= word;
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint32_t net_isn(const uint8_t key[16], const uint8_t *tuple, size_t bytes, uint64_t now_ns)
{
    return (uint32_t)(now_ns / 4000) + (uint32_t)net_siphash(key, tuple, bytes);
}
