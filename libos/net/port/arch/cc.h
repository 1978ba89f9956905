// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// lwIP's view of compiler and platform.
#ifndef LIBOS_NET_PORT_ARCH_CC_H
#define LIBOS_NET_PORT_ARCH_CC_H

#include "net_port.h"

// The zones' mem_init is another.
#define mem_init lwip_mem_init

#define LWIP_RAND()           net_port_random()
#define LWIP_PLATFORM_DIAG(x) ((void)0)
// A broken invariant of the stack: going on would corrupt memory.
#define LWIP_PLATFORM_ASSERT(x) net_port_panic(x, __FILE__, __LINE__)

#endif
