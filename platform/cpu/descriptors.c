// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// GDT, TSS and IDT. One GDT and one IDT for all CPUs, a TSS and five interrupt stacks for each.
// Source: Intel SDM 3A 3.5, 6.14, 7.7.
#include "platform/boot/early.h"
#include "platform/cpu/cpu.h"
#include "platform/paging.h"
#include "platform/paging/paging.h"

#include <errno.h>

#define MSR_FS_BASE   0xc0000100u
#define MSR_GS_BASE   0xc0000101u
#define GATE_PRESENT  0x8e // 64-bit interrupt gate, ring 0
#define TSS_AVAILABLE 0x89

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "SDM 3A 6.14.1");

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

struct pf_cpu pf_cpus[PF_MAX_CPUS];
struct pf_tss pf_tss[PF_MAX_CPUS];
static uint64_t gdt[3 + 2 * PF_MAX_CPUS] __attribute__((aligned(16)));
static struct gate idt[256] __attribute__((aligned(16)));

extern const char pf_exception_stubs[], pf_interrupt_stubs[]; // trap_entry.asm: 16 and 8 bytes each

static const uint32_t stack_bytes[PF_IST_COUNT + 1] = {
    [PF_IST_NMI] = 4096,    [PF_IST_DOUBLE_FAULT] = 8192, [PF_IST_MACHINE_CHECK] = 8192,
    [PF_IST_FAULT] = 12288, [PF_IST_IRQ] = 8192,
};
static const char *const stack_names[PF_IST_COUNT + 1] = {
    [PF_IST_NMI] = "NMI stack",
    [PF_IST_DOUBLE_FAULT] = "double-fault stack",
    [PF_IST_MACHINE_CHECK] = "machine-check stack",
    [PF_IST_FAULT] = "exception stack",
    [PF_IST_IRQ] = "interrupt stack",
};

int pf_interrupt_stacks(uint32_t index)
{
    for (unsigned i = 1; i <= PF_IST_COUNT; i++) {
        uint64_t top = pf_stack_map(stack_bytes[i]);
        if (top == 0) {
            return -ENOMEM;
        }
        pf_tss[index].ist[i - 1] = top;
    }
    return 0;
}

const char *pf_stack_guard_name(uint64_t address, uint32_t *cpu)
{
    *cpu = 0;
    if (address - (uint64_t)pf_boot_stack < PF_PAGE) {
        return "boot stack";
    }
    for (uint32_t c = 0; c < PF_MAX_CPUS; c++) {
        for (unsigned i = 1; i <= PF_IST_COUNT; i++) {
            uint64_t top = pf_tss[c].ist[i - 1];
            if (top != 0 && address - (top - stack_bytes[i] - PF_PAGE) < PF_PAGE) {
                *cpu = c;
                return stack_names[i];
            }
        }
    }
    return NULL;
}

static void set_gate(unsigned vector, const char *stub, enum pf_ist ist)
{
    uint64_t at = (uint64_t)stub;
    idt[vector] = (struct gate){
        .offset_low = (uint16_t)at,
        .selector = PF_CODE_SELECTOR,
        .ist = (uint8_t)ist,
        .type = GATE_PRESENT,
        .offset_middle = (uint16_t)(at >> 16),
        .offset_high = (uint32_t)(at >> 32),
    };
}

void pf_idt_init(void)
{
    for (unsigned v = 0; v < 32; v++) {
        enum pf_ist ist = v == 2    ? PF_IST_NMI
                          : v == 8  ? PF_IST_DOUBLE_FAULT
                          : v == 18 ? PF_IST_MACHINE_CHECK
                                    : PF_IST_FAULT;
        set_gate(v, pf_exception_stubs + v * 16, ist);
    }
    for (unsigned v = 32; v < 256; v++) {
        set_gate(v, pf_interrupt_stubs + (v - 32) * 8, PF_IST_IRQ);
    }
}

void pf_descriptors_load(uint32_t index)
{
    struct pf_cpu *cpu = &pf_cpus[index];
    struct pf_tss *tss = &pf_tss[index];
    uint64_t base = (uint64_t)tss;

    cpu->self = cpu;
    cpu->index = index;
    tss->io_map = sizeof *tss;
    gdt[1] = 0x00af9b000000ffffull; // code, 64 bit
    gdt[2] = 0x00cf93000000ffffull; // data
    gdt[3 + 2 * index] = (sizeof *tss - 1) | (base & 0xffffff) << 16 |
                         (uint64_t)TSS_AVAILABLE << 40 | (base >> 24 & 0xff) << 56;
    gdt[4 + 2 * index] = base >> 32;

    struct table_pointer gdtr = {sizeof gdt - 1, (uint64_t)gdt};
    struct table_pointer idtr = {sizeof idt - 1, (uint64_t)idt};
    __asm__ volatile("lgdt %0" ::"m"(gdtr) : "memory");
    __asm__ volatile(
        "pushq %q0; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:" ::"i"(PF_CODE_SELECTOR)
        : "rax", "memory");
    __asm__ volatile("mov %0, %%ss; mov %0, %%ds; mov %0, %%es" ::"r"(PF_DATA_SELECTOR));
    __asm__ volatile("mov %0, %%fs; mov %0, %%gs" ::"r"(0));
    pf_wrmsr(MSR_FS_BASE, 0);
    pf_wrmsr(MSR_GS_BASE, (uint64_t)cpu);
    __asm__ volatile("lidt %0" ::"m"(idtr) : "memory");
    __asm__ volatile("ltr %w0" ::"r"(PF_TSS_SELECTOR + 16 * index));
}
