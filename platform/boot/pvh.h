// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The structures of the PVH boot protocol, and their translation into pf_boot_info.
// Source: Xen public/arch-x86/hvm/start_info.h.
#ifndef PLATFORM_BOOT_PVH_H
#define PLATFORM_BOOT_PVH_H

#include "platform/boot.h"

#define PVH_MAGIC 0x336ec578u

struct pvh_start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t module_count;
    uint64_t modules; // physical, struct pvh_module[]
    uint64_t cmdline; // physical, NUL-terminated
    uint64_t rsdp;
    uint64_t memmap; // from version 1 on: physical, struct pvh_memmap[]
    uint32_t memmap_count;
    uint32_t reserved;
};
struct pvh_module {
    uint64_t base, length, cmdline, reserved;
};
struct pvh_memmap {
    uint64_t base, length;
    uint32_t type, reserved;
};
_Static_assert(sizeof(struct pvh_start_info) == 56, "start info");
_Static_assert(sizeof(struct pvh_module) == 32, "module");
_Static_assert(sizeof(struct pvh_memmap) == 24, "memory map entry");

// Fills in ranges (as given), modules, cmdline and rsdp. `at` turns a physical address and a
// length into a pointer, NULL where that memory cannot be read. Returns NULL, or what is wrong.
const char *pf_pvh_read(const struct pvh_start_info *start, struct pf_boot_info *info,
                        const void *(*at)(uint64_t phys, uint64_t bytes));

#endif
