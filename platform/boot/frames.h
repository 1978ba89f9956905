// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Frames for page tables before the libos has an allocator: taken upwards from 1 MB out of RAM
// that nothing else occupies, never given back.
#ifndef PLATFORM_BOOT_FRAMES_H
#define PLATFORM_BOOT_FRAMES_H

#include "platform/boot.h"

#define PF_LOW_MEMORY (1ull << 20) // below it only the start-up page of the other CPUs is used

struct pf_frames {
    const struct pf_range *ranges; // normalised
    uint32_t range_count;
    uint32_t taken_count;
    struct pf_module taken[PF_MAX_MODULES + 1]; // image and modules, whole pages
    uint64_t next;                              // all RAM between 1 MB and here is in use
    uint64_t limit;                             // no frame at or above
};

void pf_frames_init(struct pf_frames *f, const struct pf_range *ranges, uint32_t count,
                    uint64_t limit);
// Marks [base, base + length) as occupied (rounded out to pages). Before the first take only.
// 0 or -ENOSPC.
int pf_frames_occupy(struct pf_frames *f, uint64_t base, uint64_t length);
// Physical address of a free frame (not zeroed), 0 when there is none.
uint64_t pf_frames_take(struct pf_frames *f);
// What is left: whole pages of RAM above 1 MB, not occupied and not taken. Returns the count,
// at most max.
size_t pf_frames_left(const struct pf_frames *f, struct pf_range *out, size_t max);

#endif
