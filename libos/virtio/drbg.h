// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The deterministic part of the random generator: a 256-bit key, mixed with input by BLAKE2s, read
// out by ChaCha20 with fast key erasure (D. J. Bernstein, "Fast-key-erasure random-number
// generators", 2017): the key that made an output is gone before the output is handed out.
// No locking here.
#ifndef LIBOS_VIRTIO_DRBG_H
#define LIBOS_VIRTIO_DRBG_H

#include <stddef.h>
#include <stdint.h>

struct drbg {
    uint8_t key[32];
};

// key = BLAKE2s(key || bytes). Input of any quality never makes the state worse.
void drbg_mix(struct drbg *g, const void *data, size_t bytes);
// A one-time key for drbg_expand; replaces the generator's own.
void drbg_next(struct drbg *g, uint8_t one_time_key[32]);
// Fills out from the one-time key and wipes it. Needs no access to the generator.
void drbg_expand(uint8_t one_time_key[32], void *out, size_t bytes);
// memset that the compiler may not drop.
void drbg_wipe(void *data, size_t bytes);

#endif
