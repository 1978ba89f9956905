// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// TCP initial sequence numbers (RFC 6528): a clock of 4 µs plus a keyed hash of the connection.
#ifndef LIBOS_NET_ISN_H
#define LIBOS_NET_ISN_H

#include <stddef.h>
#include <stdint.h>

// SipHash-2-4 with a 64-bit result.
uint64_t net_siphash(const uint8_t key[16], const uint8_t *data, size_t bytes);
uint32_t net_isn(const uint8_t key[16], const uint8_t *tuple, size_t bytes, uint64_t now_ns);

#endif
