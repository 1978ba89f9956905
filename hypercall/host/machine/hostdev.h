// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `--device` for a guest, beside what other guests have.
#ifndef TESSERA_MACHINE_HOSTDEV_H
#define TESSERA_MACHINE_HOSTDEV_H

#include "hypercall/host/hardware/devices.h"

#include <libvirt/libvirt.h>

// Chooses devices for a guest of this image, of which no running domain of the connection has any.
// root: "", or a tree that stands for the machine, for --dry-run. c: NULL: nobody has any. A user's
// own libvirt (is_system false) can only give what vfio-pci holds already and this user may open.
// Errors and notes as of hardware_devices_choose; -EPERM.
int machine_choose_devices(const char *root, const struct hardware_wishes *wishes,
                           const char *image, virConnectPtr c, bool is_system,
                           struct hardware_chosen *out, char *error, size_t error_bytes);

#endif
