// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Text of addresses.
#ifndef LIBOS_NET_ADDRESS_H
#define LIBOS_NET_ADDRESS_H

#include <stddef.h>

// Splits "address/prefix". Without a prefix the most there can be is assumed. 0 or -EINVAL.
int net_split_prefix(const char *text, unsigned most, char *address, size_t room, unsigned *prefix);

#endif
