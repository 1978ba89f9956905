// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading what a PVH loader hands over. Runs unrelocated (see early.h).
#include "platform/boot/pvh.h"

const char *pf_pvh_read(const struct pvh_start_info *start, struct pf_boot_info *info,
                        const void *(*at)(uint64_t phys, uint64_t bytes))
{
    if (start->magic != PVH_MAGIC) {
        return "not a PVH start info";
    }
    if (start->version < 1) {
        return "PVH start info of version 0 has no memory map; a newer QEMU gives one";
    }
    info->source = PF_BOOT_PVH;
    info->rsdp = start->rsdp;

    if (start->memmap_count == 0 || start->memmap_count > PF_MAX_RANGES) {
        return "the PVH memory map is empty or has more than 128 entries";
    }
    const struct pvh_memmap *map = at(start->memmap, start->memmap_count * sizeof *map);
    if (map == NULL) {
        return "the PVH memory map lies outside the first 4 GB";
    }
    for (uint32_t i = 0; i < start->memmap_count; i++) {
        info->ranges[i] = (struct pf_range){map[i].base, map[i].length, map[i].type, 0};
    }
    info->range_count = start->memmap_count;

    if (start->module_count > PF_MAX_MODULES) {
        return "more than 8 boot modules";
    }
    info->module_count = 0;
    if (start->module_count > 0) {
        const struct pvh_module *m = at(start->modules, start->module_count * sizeof *m);
        if (m == NULL) {
            return "the PVH module list lies outside the first 4 GB";
        }
        for (uint32_t i = 0; i < start->module_count; i++) {
            if (m[i].length > 0) {
                info->modules[info->module_count++] = (struct pf_module){m[i].base, m[i].length};
            }
        }
    }

    size_t n = 0;
    if (start->cmdline != 0) {
        for (;; n++) {
            const char *c = at(start->cmdline + n, 1);
            if (c == NULL) {
                return "the command line lies outside the first 4 GB";
            }
            if (*c == '\0') {
                break;
            }
            if (n == PF_MAX_CMDLINE - 1) {
                return "the command line is longer than 2047 bytes";
            }
            info->cmdline[n] = *c;
        }
    }
    info->cmdline[n] = '\0';
    return NULL;
}
