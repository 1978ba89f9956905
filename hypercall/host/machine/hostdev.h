// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `--device` for a guest: from what is asked for to libvirt's <hostdev>.
#ifndef TESSERA_MACHINE_HOSTDEV_H
#define TESSERA_MACHINE_HOSTDEV_H

#include "hypercall/host/hardware/devices.h"
#include "hypercall/host/machine/text.h"

#include <libvirt/libvirt.h>

// Chooses devices for a guest of this image, of which no running domain of the connection has any.
// root: "", or a tree that stands for the machine, for --dry-run. c: NULL: nobody has any. A user's
// own libvirt (is_system false) can only give what vfio-pci holds already and this user may open.
// Errors and notes as of hardware_devices_choose; -EPERM.
int machine_choose_devices(const char *root, const struct hardware_wishes *wishes,
                           const char *image, virConnectPtr c, bool is_system,
                           struct hardware_chosen *out, char *error, size_t error_bytes);

// <hostdev> elements for <devices>; the first one stands in `first_slot` of the guest's root bus
// and the others in the slots above it. First slot 0: libvirt chooses.
void machine_add_hostdevs(struct text *t, const struct hardware_chosen *chosen,
                          unsigned first_slot);

#endif
