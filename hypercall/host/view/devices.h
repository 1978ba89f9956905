// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The devices of a guest, out of its domain's XML as libvirt writes it, for people to read.
#ifndef TESSERA_VIEW_DEVICES_H
#define TESSERA_VIEW_DEVICES_H

#include <stddef.h>

// Calls `found` with a line for each device: "interface network virtio", "virtio-pmem-pci pmem0".
// The texts are the domain's, without control characters.
void view_devices(const char *xml, void (*found)(void *context, const char *line), void *context);
// How the weights arrive, in words; a constant text.
const char *view_weights_way(const char *xml);

#endif
