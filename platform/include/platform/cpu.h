// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Instructions that C has no words for, CPU features, and the per-CPU block (GS base).
// Sources: Intel SDM vol. 2 and 3A; AMD APM vol. 2.
#ifndef PLATFORM_CPU_H
#define PLATFORM_CPU_H

#include <stdbool.h>
#include <stdint.h>

#define PF_MAX_CPUS 64

struct pf_cpu {
    struct pf_cpu *self; // GS:0
    uint32_t index;      // 0 is the boot CPU; GS:8
    uint32_t apic_id;
    void *current;      // GS:16, the libos's running strand; owner: this CPU
    void *libos;        // GS:24, the libos's per-core record; owner: this CPU
    uint64_t irq_count; // interrupts taken; owner: this CPU
    uint64_t reserved[11];
};

struct pf_cpu_features {
    bool rdrand, rdseed, avx, avx2, fma, f16c, avx512, avx512_vnni, avx_vnni, avx512_bf16;
    bool nx, page1g, smep, smap, umip, x2apic, tsc_deadline, invariant_tsc, pcid, hypervisor;
    char vendor[13];
    char hypervisor_vendor[13]; // "TCGTCGTCGTCG", "KVMKVMKVM", "" if none
    char brand[49];
};
const struct pf_cpu_features *pf_cpu_features(void);

static inline struct pf_cpu *pf_this_cpu(void)
{
    struct pf_cpu *cpu;
    __asm__ volatile("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}
static inline uint32_t pf_cpu_index(void)
{
    uint32_t index;
    __asm__ volatile("mov %%gs:8, %0" : "=r"(index));
    return index;
}
static inline uint64_t pf_rdtsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}
static inline void pf_pause(void)
{
    __asm__ volatile("pause");
}
static inline void pf_irq_disable(void)
{
    __asm__ volatile("cli" ::: "memory");
}
static inline void pf_irq_enable(void)
{
    __asm__ volatile("sti" ::: "memory");
}
// Returns the flags before; give them to pf_irq_restore.
static inline uint64_t pf_irq_save(void)
{
    uint64_t flags;
    // The red zone is safe to push over only because the compiler is told memory is touched and
    // this code is built with -mno-red-zone where it is inlined into interrupt paths.
    __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; pop %0; lea 128(%%rsp), %%rsp; cli"
                     : "=r"(flags)::"memory");
    return flags;
}
static inline void pf_irq_restore(uint64_t flags)
{
    if (flags & 0x200) {
        __asm__ volatile("sti" ::: "memory");
    }
}
// Atomically enables interrupts and halts until one arrives. Call with interrupts off.
static inline void pf_wait_for_interrupt(void)
{
    __asm__ volatile("sti; hlt" ::: "memory");
}
static inline uint64_t pf_rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (uint64_t)hi << 32 | lo;
}
static inline void pf_wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}
static inline void pf_cpuid(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                     : "a"(leaf), "c"(sub));
}
static inline void pf_out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static inline void pf_out16(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
static inline void pf_out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}
static inline uint8_t pf_in8(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint16_t pf_in16(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint32_t pf_in32(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

#endif
