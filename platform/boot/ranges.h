// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The memory map in order: sorted, without overlaps, neighbours of one type merged.
#ifndef PLATFORM_BOOT_RANGES_H
#define PLATFORM_BOOT_RANGES_H

#include "platform/boot.h"

// Sorts and flattens ranges[0..count) in place. Where ranges overlap, the one that forbids more
// wins: anything beats RAM. Ranges that wrap around 2^64 are cut there. Returns the new count, or
// -ENOSPC when the flattened map would have more than PF_MAX_RANGES entries.
int pf_ranges_normalise(struct pf_range *ranges, uint32_t count);

#endif
