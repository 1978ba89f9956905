// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The client's port in a guest: the machine's first ivshmem-doorbell device.
#ifndef HYPERCALL_GUEST_DEVICE_H
#define HYPERCALL_GUEST_DEVICE_H

#include "hypercall/guest/client.h"
#include "libos/sched.h"

#include <stddef.h>

// The host's doorbells set *wake, which lives for ever and may have other reasons to be set; the
// port's wait() waits for it. 0; -ENODEV: there is no such device; else a negative errno and in
// *why what is wrong with it. Once.
int hc_device_open(struct wake *wake, struct hc_port *port, void **region, uint64_t *bytes,
                   const char **why);
// Where it is ("pci 00:03.0"), and doorbells heard so far. NULL: none is open.
const char *hc_device_location(void);
uint64_t hc_device_interrupts(void);

#endif
