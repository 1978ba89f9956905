// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The two primitives of the random generator: the ChaCha20 block (RFC 8439, 2.3) and BLAKE2s-256
// (RFC 7693). Pure; not constant-memory secrets, but free of secret-dependent branches and lookups.
#ifndef LIBOS_VIRTIO_CHACHA20_H
#define LIBOS_VIRTIO_CHACHA20_H

#include <stddef.h>
#include <stdint.h>

void chacha20_block(const uint8_t key[32], uint32_t counter, const uint8_t nonce[12],
                    uint8_t out[64]);

struct blake2s {
    uint32_t h[8];
    uint64_t bytes; // compressed or in block
    uint8_t block[64];
    size_t fill;
};
void blake2s_init(struct blake2s *s);
void blake2s_update(struct blake2s *s, const void *data, size_t bytes);
void blake2s_final(struct blake2s *s, uint8_t out[32]);

#endif
