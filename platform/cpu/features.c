// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What CPUID says, and the control registers that follow from it. Sources: Intel SDM 2A CPUID,
// 3A 2.5 (control registers), 13 (XSAVE); AMD APM vol. 3 appendix E.
#include "platform/boot/early.h"
#include "platform/cpu/cpu.h"

#define MSR_EFER    0xc0000080u
#define MSR_STAR    0xc0000081u
#define MSR_LSTAR   0xc0000082u
#define MSR_FMASK   0xc0000084u
#define MSR_PAT     0x277u
#define EFER_SCE    (1u << 0)
#define EFER_NXE    (1u << 11)
#define CR0_MP      (1ull << 1)
#define CR0_EM      (1ull << 2)
#define CR0_TS      (1ull << 3)
#define CR0_NE      (1ull << 5)
#define CR0_WP      (1ull << 16)
#define CR0_NW_CD   (3ull << 29)
#define CR4_PAE     (1ull << 5)
#define CR4_MCE     (1ull << 6)
#define CR4_OSFXSR  (3ull << 9) // and OSXMMEXCPT
#define CR4_UMIP    (1ull << 11)
#define CR4_FSGS    (1ull << 16)
#define CR4_OSXSAVE (1ull << 18)
#define CR4_SMEP    (1ull << 20)
#define CR4_SMAP    (1ull << 21)
#define FLAGS_TF    (1u << 8)
#define FLAGS_DF    (1u << 10)
#define FLAGS_AC    (1u << 18)
// Entry 1 is write-combining in place of write-through; the others as after reset.
#define PAT_VALUE 0x0007040600070106ull

static struct pf_cpu_features features;
static bool has_fsgsbase, has_xsave, has_mce;
static uint64_t xcr0;

void pf_syscall_entry(void);

const struct pf_cpu_features *pf_cpu_features(void)
{
    return &features;
}

static bool bit(uint32_t word, unsigned n)
{
    return (word >> n & 1) != 0;
}

static void text(char *to, const uint32_t *words, unsigned count)
{
    for (unsigned i = 0; i < count * 4; i++) {
        to[i] = (char)(words[i / 4] >> (i % 4 * 8));
    }
    to[count * 4] = '\0';
}

static void read_names(void)
{
    uint32_t r[4];
    pf_cpuid(0, 0, r);
    text(features.vendor, (uint32_t[]){r[1], r[3], r[2]}, 3);
    if (features.hypervisor) {
        pf_cpuid(0x40000000, 0, r);
        text(features.hypervisor_vendor, r + 1, 3);
    }
    pf_cpuid(0x80000000, 0, r);
    if (r[0] >= 0x80000004) {
        for (uint32_t i = 0; i < 3; i++) {
            pf_cpuid(0x80000002 + i, 0, r);
            text(features.brand + i * 16, r, 4);
        }
    }
}

void pf_features_read(void)
{
    uint32_t basic[4], one[4], seven[4] = {0}, seven1[4] = {0}, ext[4], power[4] = {0}, top[4];
    struct pf_cpu_features *f = &features;

    pf_cpuid(0, 0, basic);
    pf_cpuid(1, 0, one);
    pf_cpuid(0x80000000, 0, top);
    pf_cpuid(0x80000001, 0, ext);
    if (basic[0] >= 7) {
        pf_cpuid(7, 0, seven);
        if (seven[0] >= 1) {
            pf_cpuid(7, 1, seven1);
        }
    }
    if (top[0] >= 0x80000007) {
        pf_cpuid(0x80000007, 0, power);
    }
    has_xsave = bit(one[2], 26);
    has_mce = bit(one[3], 7);
    has_fsgsbase = bit(seven[1], 0);
    uint64_t allowed = 0;
    if (has_xsave && basic[0] >= 0xd) {
        uint32_t d[4];
        pf_cpuid(0xd, 0, d);
        allowed = (uint64_t)d[3] << 32 | d[0];
    }
    bool ymm = (allowed & 7) == 7 && bit(one[2], 28);
    bool zmm = ymm && (allowed & 0xe0) == 0xe0 && bit(seven[1], 16);
    xcr0 = zmm ? 0xe7 : ymm ? 7 : 3;

    f->rdrand = bit(one[2], 30);
    f->rdseed = bit(seven[1], 18);
    f->avx = ymm;
    f->avx2 = ymm && bit(seven[1], 5);
    f->fma = ymm && bit(one[2], 12);
    f->f16c = ymm && bit(one[2], 29);
    // The kernels use F, DQ, BW and VL together.
    f->avx512 = zmm && bit(seven[1], 17) && bit(seven[1], 30) && bit(seven[1], 31);
    f->avx512_vnni = f->avx512 && bit(seven[2], 11);
    f->avx_vnni = ymm && bit(seven1[0], 4);
    f->avx512_bf16 = f->avx512 && bit(seven1[0], 5);
    f->nx = bit(ext[3], 20);
    f->page1g = bit(ext[3], 26);
    f->smep = bit(seven[1], 7);
    f->smap = bit(seven[1], 20);
    f->umip = bit(seven[2], 2);
    f->x2apic = bit(one[2], 21);
    f->tsc_deadline = bit(one[2], 24);
    f->invariant_tsc = bit(power[3], 8);
    f->pcid = bit(one[2], 17);
    f->hypervisor = bit(one[2], 31);
    read_names();
}

static uint64_t read_cr0(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}

static uint64_t read_cr4(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}

void pf_control_init(void)
{
    const struct pf_cpu_features *f = &features;
    uint64_t cr0 = (read_cr0() | CR0_MP | CR0_NE | CR0_WP) & ~(CR0_EM | CR0_TS | CR0_NW_CD);
    if (pf_protection_off("wx")) {
        cr0 &= ~CR0_WP;
    }
    __asm__ volatile("mov %0, %%cr0" ::"r"(cr0) : "memory");
    // Nothing that firmware has switched on stays: no protection keys, shadow stacks, global pages.
    uint64_t cr4 = (read_cr4() & CR4_PAE) | CR4_OSFXSR | (f->umip ? CR4_UMIP : 0) |
                   (f->smep ? CR4_SMEP : 0) | (f->smap ? CR4_SMAP : 0) |
                   (has_fsgsbase ? CR4_FSGS : 0) | (has_xsave ? CR4_OSXSAVE : 0) |
                   (has_mce ? CR4_MCE : 0); // without it a machine check shuts the CPU down, mute
    __asm__ volatile("mov %0, %%cr4" ::"r"(cr4) : "memory");
    if (has_xsave) {
        __asm__ volatile("xsetbv" ::"c"(0), "a"((uint32_t)xcr0), "d"((uint32_t)(xcr0 >> 32)));
    }
    uint32_t mxcsr = 0x1f80;
    __asm__ volatile("fninit; ldmxcsr %0" ::"m"(mxcsr));
    pf_wrmsr(MSR_PAT, PAT_VALUE);
    pf_wrmsr(MSR_EFER, pf_rdmsr(MSR_EFER) | EFER_SCE | (f->nx ? EFER_NXE : 0));
    // SYSCALL leaves CS at the kernel's selector and SS at the one after it.
    pf_wrmsr(MSR_STAR, (uint64_t)PF_CODE_SELECTOR << 32);
    pf_wrmsr(MSR_LSTAR, (uint64_t)pf_syscall_entry);
    pf_wrmsr(MSR_FMASK, FLAGS_TF | FLAGS_DF | FLAGS_AC);
}
