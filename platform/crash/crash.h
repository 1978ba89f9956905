// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Private to platform/: entering the crash report from a trap.
#ifndef PLATFORM_CRASH_PRIVATE_H
#define PLATFORM_CRASH_PRIVATE_H

#include "platform/cpu/cpu.h"

#include <stdbool.h>
#include <stddef.h>

// Reports the exception and ends the machine.
_Noreturn void pf_crash_trap(const struct pf_trap_frame *frame);
// What an NMI meant: true when a crashing CPU asked this one to stop. Notes where it was.
bool pf_crash_stop_asked(const struct pf_trap_frame *frame);
// Finds and maps what the report will need at its end; after pf_pci_init.
void pf_crash_devices_init(void);
// pvpanic, isa-debug-exit, power off, in that order.
_Noreturn void pf_crash_end(void);
// True from the moment a CPU reports: output is polled and takes no locks.
bool pf_crashing(void);

// console.c: polled output, no locks, bounded waits.
void pf_crash_write(const char *data, size_t bytes);
// backtrace.c
void pf_print_place(uint64_t address);
void pf_backtrace(uint64_t rip, uint64_t rbp);
// reason.c: the exception in words, without a line end.
void pf_print_reason(const struct pf_trap_frame *frame, uint64_t cr2);

#endif
