// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A PVH start info of any content, and the memory map in it, lead to an error or a sane record.
// Links: platform/boot/pvh.c platform/boot/ranges.c platform/boot/cmdline.c
#include "platform/boot/cmdline.h"
#include "platform/boot/pvh.h"
#include "platform/boot/ranges.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t *memory;
static size_t memory_bytes;

static const void *at(uint64_t phys, uint64_t bytes)
{
    return phys <= memory_bytes && bytes <= memory_bytes - phys ? memory + phys : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pf_boot_info info;
    struct pvh_start_info start;
    char value[64];
    if (size < sizeof start) {
        return 0;
    }
    memcpy(&start, data, sizeof start);
    start.magic = PVH_MAGIC;
    // Structures are read where they lie, as on the machine: keep them aligned here.
    start.memmap &= ~7ull;
    start.modules &= ~7ull;
    memory = data;
    memory_bytes = size;
    if (pf_pvh_read(&start, &info, at) == NULL) {
        int count = pf_ranges_normalise(info.ranges, info.range_count);
        for (int i = 1; i < count; i++) {
            if (info.ranges[i - 1].base + info.ranges[i - 1].length > info.ranges[i].base) {
                abort();
            }
        }
        (void)pf_cmdline_find(info.cmdline, "model", value, sizeof value);
        (void)pf_cmdline_listed(info.cmdline, "protect", "-wx");
    }
    return 0;
}
