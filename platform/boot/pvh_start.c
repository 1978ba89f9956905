// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// PVH's first C code. Runs unrelocated (see early.h).
#include "platform/boot/early.h"
#include "platform/boot/pvh.h"

static const void *identity(uint64_t phys, uint64_t bytes)
{
    const uint64_t limit = 1ull << 32;
    return phys != 0 && phys < limit && bytes <= limit - phys ? (const void *)phys : NULL;
}

uint64_t pf_early_pvh(const struct pvh_start_info *start, uint64_t tsc);
uint64_t pf_early_pvh(const struct pvh_start_info *start, uint64_t tsc)
{
    pf_boot_record.entry_tsc = tsc;
    const char *wrong = pf_pvh_read(start, &pf_boot_record, identity);
    if (wrong != NULL) {
        pf_early_fail(wrong);
    }
    return pf_early_finish();
}
