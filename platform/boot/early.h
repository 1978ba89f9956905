// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// From the wrapper's first C instruction to pf_start: code that runs where the image was loaded,
// before relocation, on an identity map of the first 4 GB. It must not read any pointer that the
// linker initialised, and it prints only through pf_early_fail.
#ifndef PLATFORM_BOOT_EARLY_H
#define PLATFORM_BOOT_EARLY_H

#include "platform/boot.h"
#include "platform/boot/frames.h"

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)
// Set by images/kernel.ld; the image is linked at 0.
extern char __ehdr_start[], __text_start[], __text_end[], __rodata_start[], __rodata_end[];
extern char __data_start[], __data_end[], __bss_start[], __bss_end[], __image_end[];
extern char __rela_start[], __rela_end[];
#pragma GCC visibility pop

#define PF_BOOT_STACK_BYTES (64u << 10)
extern char pf_boot_stack[]; // a guard page, then PF_BOOT_STACK_BYTES

extern struct pf_boot_info pf_boot_record;
extern struct pf_frames pf_boot_frames;
extern uint64_t pf_early_tables[6][512]; // PML4, PDPT, four PDs: identity map of 4 GB
extern uint64_t pf_final_cr3;

// The virtual base to run at.
uint64_t pf_kaslr_base(const struct pf_boot_info *info, uint64_t image_bytes);
// Checks the memory map and modules of pf_boot_record, builds the final page tables, relocates
// the image. Returns the virtual base.
uint64_t pf_early_finish(void);
// Says why on COM1 and stops the machine.
_Noreturn void pf_early_fail(const char *why);

#endif
