// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The compression function, in two kinds.
#ifndef LIBOS_IMAGE_SHA256_H
#define LIBOS_IMAGE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern const uint32_t sha256_k[64];
// Takes `blocks` blocks of 64 bytes into the state.
void sha256_blocks_portable(uint32_t state[8], const uint8_t *data, size_t blocks);
// Only where sha256_has_instructions().
void sha256_blocks_x86(uint32_t state[8], const uint8_t *data, size_t blocks);
bool sha256_has_instructions(void);

#endif
