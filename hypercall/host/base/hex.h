// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Bytes as hexadecimal digits.
#ifndef TESSERA_BASE_HEX_H
#define TESSERA_BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// 2 * count small digits and a NUL.
void hex_write(const uint8_t *bytes, size_t count, char *out);
// The first 2 * count characters, of which all must be digits, letters small; what follows is the
// caller's. false: it is not so, and `out` holds anything.
bool hex_read(const char *hex, uint8_t *out, size_t count);

#endif
