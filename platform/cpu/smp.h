// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Private to platform/: the data that the start-up code of other CPUs reads (ap_start.asm).
#ifndef PLATFORM_CPU_SMP_H
#define PLATFORM_CPU_SMP_H

#include "platform/cpu.h"
#include "platform/smp.h"

// Laid over the end of the start-up page; offsets are those of ap_start.asm.
struct pf_ap_page {
    uint32_t cr0, cr3, cr4, efer;
    uint32_t jump_offset; // far pointer to the 64-bit part
    uint16_t jump_selector;
    uint16_t gdt_limit;
    uint32_t gdt_base;
    uint32_t reserved;
    uint64_t entry; // virtual address to go on at
};
_Static_assert(sizeof(struct pf_ap_page) == 40, "ap_start.asm");

#endif
