// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ISA levels: what CPUID and XCR0 allow, and which of them is fastest on this machine.
// Source: Intel SDM vol. 1 ch. 13 to 15, vol. 2 CPUID and XGETBV.
#include "tensor/cpu/kernels.h"

#include <errno.h>
#include <string.h>

static const char *const names[TN_ISA_COUNT] = {"scalar", "avx2", "avx512", "avx512vnni"};

const char *tn_isa_name(enum tn_isa isa)
{
    return (unsigned)isa < TN_ISA_COUNT ? names[isa] : "unknown";
}

int tn_isa_parse(const char *name, enum tn_isa *out)
{
    for (int i = 0; i < TN_ISA_COUNT; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum tn_isa)i;
            return 0;
        }
    }
    return -EINVAL;
}

struct cpuid {
    uint32_t a, b, c, d;
};

static struct cpuid cpuid(uint32_t leaf, uint32_t sub)
{
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
    return r;
}

static uint64_t enabled_state(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static bool has(uint32_t word, unsigned bit)
{
    return word >> bit & 1;
}

enum tn_isa tn_isa_best(void)
{
    if (cpuid(0, 0).a < 7) {
        return TN_ISA_SCALAR;
    }
    struct cpuid one = cpuid(1, 0), seven = cpuid(7, 0);
    bool osxsave = has(one.c, 27);
    uint64_t state = osxsave ? enabled_state() : 0;
    bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6;
    if (!ymm || !has(one.c, 12) || !has(one.c, 29) || !has(seven.b, 5)) { // FMA, F16C, AVX2
        return TN_ISA_SCALAR;
    }
    // F, DQ, BW, VL
    if (!zmm || !has(seven.b, 16) || !has(seven.b, 17) || !has(seven.b, 30) || !has(seven.b, 31)) {
        return TN_ISA_AVX2;
    }
    return has(seven.c, 11) ? TN_ISA_AVX512_VNNI : TN_ISA_AVX512;
}
