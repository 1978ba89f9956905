// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The crash report: one CPU reports, the others are stopped where they are, then the machine
// ends. A fault within the report ends the machine at once.
#include "platform/boot/early.h"
#include "platform/cpu/cpu.h"
#include "platform/crash/crash.h"
#include "platform/crash/format.h"
#include "platform/paging/paging.h"
#include "platform/power.h"
#include "platform/priv/init.h"
#include "platform/serial.h"
#include "platform/smp.h"

#define OTHERS_STOP_WITHIN_US 20000u

static uint32_t reporter;                 // CPU index + 1; claimed once by compare-exchange
static uint32_t depth;                    // faults within the report; owner: the reporter
static uint64_t stopped_rip[PF_MAX_CPUS]; // each set once by its CPU
static void (*note)(void);                // set once

void pf_crash_note(void (*function)(void))
{
    note = function;
}

bool pf_crashing(void)
{
    return __atomic_load_n(&reporter, __ATOMIC_RELAXED) != 0;
}

static _Noreturn void stop_here(void)
{
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

bool pf_crash_stop_asked(const struct pf_trap_frame *frame)
{
    uint32_t owner = __atomic_load_n(&reporter, __ATOMIC_ACQUIRE);
    if (owner == 0 || owner == pf_cpu_index() + 1) {
        return false;
    }
    __atomic_store_n(&stopped_rip[pf_cpu_index()], frame->rip, __ATOMIC_RELEASE);
    return true;
}

// Returns on the one CPU that reports, for the first fault only. Another that faults at the same
// time (an NMI from the host goes to all) leaves the place where it was, `rip`.
static void begin(uint64_t rip)
{
    __asm__ volatile("cli");
    uint32_t me = pf_cpu_index() + 1, none = 0;
    if (!__atomic_compare_exchange_n(&reporter, &none, me, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        if (none != me) {
            __atomic_store_n(&stopped_rip[me - 1], rip, __ATOMIC_RELEASE);
            stop_here();
        }
        depth++;
        if (depth == 1) {
            pf_printk("\na second fault within the crash report: ending here\n");
            pf_crash_end();
        }
        stop_here();
    }
    // What was printed before comes first. Waits a bounded time if the console's lock is taken.
    pf_serial_flush();
    // A fault from here on must not overwrite the frame that is being reported.
    pf_tss[me - 1].ist[PF_IST_FAULT - 1] = pf_tss[me - 1].ist[PF_IST_MACHINE_CHECK - 1];
    // Not to those still starting: without their tables they would take the machine down.
    for (uint32_t i = 0; i < PF_MAX_CPUS && pf_cpu_online() > 1; i++) {
        if (i != me - 1 && pf_cpu_is_online(i)) {
            pf_lapic_send_nmi(pf_cpu(i)->apic_id);
        }
    }
}

static void print_others(void)
{
    uint32_t me = pf_cpu_index();
    uint32_t online = pf_cpu_online(), seen = 1;
    for (uint32_t waited = 0; waited < OTHERS_STOP_WITHIN_US && seen < online; waited += 100) {
        pf_delay_us(100);
        seen = 1;
        for (uint32_t i = 0; i < PF_MAX_CPUS; i++) {
            seen += __atomic_load_n(&stopped_rip[i], __ATOMIC_ACQUIRE) != 0;
        }
    }
    for (uint32_t i = 0; i < PF_MAX_CPUS; i++) {
        if (i != me && stopped_rip[i] != 0) {
            pf_printk("CPU %u stopped at ", i);
            pf_print_place(stopped_rip[i]);
        }
    }
    if (seen < online) {
        pf_printk("%u other CPUs did not stop\n", online - seen);
    }
}

static _Noreturn void finish(uint64_t rip, uint64_t rbp)
{
    pf_backtrace(rip, rbp);
    print_others();
    if (note != NULL) {
        note();
    }
    pf_printk("--- end of crash report, image base %016lx ---\n", (uint64_t)__ehdr_start);
    pf_crash_end();
}

static void print_registers(const struct pf_trap_frame *f, uint64_t cr2)
{
    uint64_t cr3, cr4;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    pf_printk("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    pf_printk("rsi %016lx  rdi %016lx  rbp %016lx  rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
    pf_printk("r8  %016lx  r9  %016lx  r10 %016lx  r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
    pf_printk("r12 %016lx  r13 %016lx  r14 %016lx  r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
    pf_printk("rip %016lx  flags %08lx  cr2 %016lx  cr3 %lx  cr4 %lx\n", f->rip, f->rflags, cr2,
              cr3, cr4);
}

_Noreturn void pf_crash_trap(const struct pf_trap_frame *frame)
{
    uint64_t cr2;
    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    begin(frame->rip);
    pf_printk("\n--- CRASH on CPU %u: ", pf_cpu_index());
    pf_print_reason(frame, cr2);
    print_registers(frame, cr2);
    if (frame->vector == 14 && frame->rip == cr2 && pf_readable8(frame->rsp)) {
        // A jump to a bad place: what a call would have pushed tells from where.
        pf_printk("perhaps called from ");
        pf_print_place(*(const uint64_t *)frame->rsp - 1);
    }
    finish(frame->rip, frame->rbp);
}

_Noreturn void pf_panic(const char *format, ...)
{
    char text[512];
    va_list args;
    begin((uint64_t)__builtin_return_address(0) - 1);
    va_start(args, format);
    (void)pf_format(text, sizeof text, format, args);
    va_end(args);
    pf_printk("\n--- CRASH on CPU %u: ", pf_cpu_index());
    pf_printk("%s\n", text);
    uint64_t *frame = __builtin_frame_address(0);
    finish((uint64_t)__builtin_return_address(0) - 1, frame[0]);
}
