// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Private to platform/: bringing one CPU into the state all code expects, and the trap frame.
#ifndef PLATFORM_CPU_PRIVATE_H
#define PLATFORM_CPU_PRIVATE_H

#include "platform/cpu.h"

#include <stdbool.h>
#include <stdint.h>

#define PF_CODE_SELECTOR 0x08
#define PF_DATA_SELECTOR 0x10
#define PF_TSS_SELECTOR  0x18 // of CPU 0; 16 bytes further for each next one

// Interrupt stacks, TSS numbering. Each is left before the same one can be entered again:
// interrupts do not nest, and a fault while a crash is being reported moves to the next stack.
enum pf_ist {
    PF_IST_NMI = 1,
    PF_IST_DOUBLE_FAULT = 2,
    PF_IST_MACHINE_CHECK = 3,
    PF_IST_FAULT = 4, // page faults and the other exceptions
    PF_IST_IRQ = 5,
    PF_IST_COUNT = 5,
};

// What the exception stub pushes, lowest address first.
struct pf_trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct pf_trap_frame) == 22 * 8, "exception stub in trap_entry.asm");

struct pf_tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7]; // ist[0] is IST1
    uint64_t reserved2;
    uint16_t reserved3, io_map;
} __attribute__((packed));
_Static_assert(sizeof(struct pf_tss) == 104, "SDM 3A 7.7");

extern struct pf_cpu pf_cpus[PF_MAX_CPUS];
extern struct pf_tss pf_tss[PF_MAX_CPUS];

// CPUID into pf_cpu_features; once, on the boot CPU.
void pf_features_read(void);
// CR0, CR4, EFER, XCR0, MXCSR, PAT and the system-call registers, as pf_cpu_features allows. The
// same on every CPU.
void pf_control_init(void);
// GDT, TSS, IDT and GS base of CPU `index` onto this CPU. Its stacks must be there.
void pf_descriptors_load(uint32_t index);
// Maps the interrupt stacks of CPU `index`. 0 or -ENOMEM.
int pf_interrupt_stacks(uint32_t index);
// Fills the IDT; once.
void pf_idt_init(void);
// Name of an exception vector, without its mnemonic: "page fault".
const char *pf_exception_name(uint64_t vector);
// In words, which platform stack's guard page holds `address`; NULL: none.
const char *pf_stack_guard_name(uint64_t address, uint32_t *cpu);

#endif
