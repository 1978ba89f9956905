// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// SHA-256 of what is there as a whole. What comes in pieces uses mbedTLS itself.
//
// Error handling: 0 or a negative errno; no message.
#ifndef TESSERA_BASE_SHA256_H
#define TESSERA_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_TEXT = 65 };
#define SHA256_WHOLE_FILE UINT64_MAX

int sha256_bytes(const void *data, size_t bytes, uint8_t out[SHA256_BYTES]);
int sha256_bytes_text(const void *data, size_t bytes, char out[SHA256_TEXT]);

// The first `bytes` bytes of an open file, or all of them, by pread: its offset stays. -ESTALE: it
// has fewer than `bytes`.
// `show`, or NULL, is told after each step how many are done.
int sha256_file(int fd, uint64_t bytes, void (*show)(void *context, uint64_t done), void *context,
                uint8_t out[SHA256_BYTES]);

#endif
