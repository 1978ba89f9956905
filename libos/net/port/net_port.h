// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What lwIP needs from us: randomness, sequence numbers, checksums. Included by lwIP itself, so it
// includes nothing of lwIP's.
#ifndef LIBOS_NET_PORT_NET_PORT_H
#define LIBOS_NET_PORT_NET_PORT_H

#include <stddef.h>
#include <stdint.h>

struct ip_addr;

uint32_t net_port_random(void);
_Noreturn void net_port_panic(const char *what, const char *file, int line);
// Initial sequence number of a connection (RFC 6528). Addresses are ip_addr_t.
uint32_t net_port_isn(const struct ip_addr *local, uint16_t local_port,
                      const struct ip_addr *remote, uint16_t remote_port);
// One's complement sum of `bytes` bytes, not inverted, in network order (RFC 1071).
uint16_t net_checksum(const void *data, int bytes);

#endif
