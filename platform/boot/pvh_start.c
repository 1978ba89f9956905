// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// PVH's first C code. Runs unrelocated (see early.h).
#include "platform/boot/early.h"
#include "platform/boot/image_note.h"
#include "platform/boot/pvh.h"

static const void *identity(uint64_t phys, uint64_t bytes)
{
    const uint64_t limit = 1ull << 32;
    return phys != 0 && phys < limit && bytes <= limit - phys ? (const void *)phys : NULL;
}

// What `tessera image build` has put behind the image becomes a module.
static void take_payload(struct pf_boot_info *info)
{
    if (pf_image_note.payload_bytes == 0) {
        return;
    }
    if (pf_image_note.version != IMAGE_NOTE_VERSION) {
        pf_early_fail("the image's payload is of another version than its kernel");
    }
    if (info->module_count == PF_MAX_MODULES) {
        pf_early_fail("more than 7 boot modules beside the image's own");
    }
    info->modules[info->module_count++] =
        (struct pf_module){pf_image_note.payload_phys, pf_image_note.payload_bytes};
    info->image_module = info->module_count;
}

uint64_t pf_early_pvh(const struct pvh_start_info *start, uint64_t tsc);
uint64_t pf_early_pvh(const struct pvh_start_info *start, uint64_t tsc)
{
    pf_boot_record.entry_tsc = tsc;
    const char *wrong = pf_pvh_read(start, &pf_boot_record, identity);
    if (wrong != NULL) {
        pf_early_fail(wrong);
    }
    take_payload(&pf_boot_record);
    return pf_early_finish();
}
