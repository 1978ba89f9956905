// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the files of this folder share.
#ifndef TESSERA_VIEW_PRIVATE_H
#define TESSERA_VIEW_PRIVATE_H

#include "hypercall/host/view/look.h"

// Fills in what /proc says of each guest's QEMU: since when it runs, and its share of memory.
void view_processes(struct view *v);

#endif
