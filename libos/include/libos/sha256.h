// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// SHA-256. Source: FIPS 180-4, 6.2.
#ifndef LIBOS_SHA256_H
#define LIBOS_SHA256_H

#include <stddef.h>
#include <stdint.h>

// Of a whole text at once. Any strand.
void sha256(const void *data, size_t bytes, uint8_t out[32]);
// For tests: by the portable code alone, whatever the CPU can do.
void sha256_portable(const void *data, size_t bytes, uint8_t out[32]);

#endif
