// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Ending: power off, reset, the power button, and the crash report.
#ifndef PLATFORM_POWER_H
#define PLATFORM_POWER_H

#include <stdint.h>

// End the machine at once: nothing is drained (libos/app.h does that), the console's ring is
// emptied first. Any CPU, irq-safe; each tries every way the machine has and resets it when none
// works.
_Noreturn void pf_power_off(void);
_Noreturn void pf_reboot(void);
// Exit status through isa-debug-exit where the device is present (QEMU exits with 2*code+1),
// else power off.
_Noreturn void pf_exit(int code);
// `pressed` is called (irq rules) when the power button is pressed: ACPI fixed event, or the GED on
// microvm; at once, if that has happened before. NULL ends it.
void pf_power_button(void (*pressed)(void *arg), void *arg);

// Prints the reason, registers, a symbolised backtrace; stops the other CPUs; raises pvpanic; then
// isa-debug-exit, else power off. printf-like (%s %d %u %x %lx %p %c and widths). Any CPU,
// irq-safe, under any lock.
_Noreturn void pf_panic(const char *format, ...) __attribute__((format(printf, 1, 2)));
// The same formatter, to the console, usable anywhere, before libc is up; at most 319 bytes a call.
void pf_printk(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Name (valid for ever) and offset in bytes of the function that holds `address`; NULL if none.
const char *pf_symbol(uint64_t address, uint64_t *offset);
// Extra lines for the crash report (e.g. the running strand); called once, must not fault.
void pf_crash_note(void (*note)(void));
// Called first for each page fault; returns 1 when it has described the address in words on the
// console ("stack guard of strand `net`"), 0 otherwise. irq rules.
void pf_fault_describe(int (*describe)(uint64_t address));

#define PF_ASSERT(cond)                                                                            \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            pf_panic("assertion failed: %s (%s:%d)", #cond, __FILE__, __LINE__);                   \
        }                                                                                          \
    } while (0)

#endif
