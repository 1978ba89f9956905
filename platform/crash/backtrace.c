// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Frame-pointer backtrace. Trusts nothing: each frame must lie in mapped memory and above the one
// before, and there is a limit.
#include "platform/boot/early.h"
#include "platform/crash/crash.h"
#include "platform/paging/paging.h"
#include "platform/power.h"

#define MAX_FRAMES 32

void pf_print_place(uint64_t address)
{
    uint64_t into;
    const char *name = pf_symbol(address, &into);
    uint64_t base = (uint64_t)__ehdr_start;
    pf_printk("%016lx", address);
    if (name != NULL) {
        pf_printk(" %s+0x%lx", name, into);
    }
    if (address >= base && address < (uint64_t)__image_end) {
        pf_printk(" (image+0x%lx)", address - base);
    } else {
        pf_printk(" (outside the image)");
    }
    pf_printk("\n");
}

void pf_backtrace(uint64_t rip, uint64_t rbp)
{
    pf_printk("backtrace:\n");
    for (unsigned i = 0; i < MAX_FRAMES; i++) {
        pf_printk("  #%-2u ", i);
        // A return address may already belong to the next function: name the call before it.
        pf_print_place(i == 0 ? rip : rip - 1);
        if (rbp == 0) {
            return;
        }
        if ((rbp & 7) != 0 || !pf_readable8(rbp) || !pf_readable8(rbp + 8)) {
            pf_printk("  (frame pointer %016lx leads nowhere)\n", rbp);
            return;
        }
        const uint64_t *frame = (const uint64_t *)rbp;
        uint64_t next = frame[0];
        rip = frame[1];
        if ((rip >= 32 && rip < 128) || rip >= (uint64_t)-128) {
            // The interrupt stub's frame: the vector, sign-extended, stands where a return address
            // would, the interrupted address after it; the stack changes here.
            if (!pf_readable8(rbp + 16)) {
                return;
            }
            pf_printk("      --- interrupt 0x%lx ---\n", rip & 0xff);
            rip = frame[2] + 1;
        } else if (next != 0 && next <= rbp) {
            pf_printk("  (frame pointers do not go up: %016lx after %016lx)\n", next, rbp);
            return;
        }
        if (rip == 0) {
            return;
        }
        rbp = next;
    }
    pf_printk("  ...\n");
}
