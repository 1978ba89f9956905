// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which ISA level is fastest here. Real processors: the best they have. Emulators execute wide
// instructions slowly, and QEMU's TCG more than that: once a guest has run one 256-bit instruction,
// the upper halves of the host's registers stay in use and every emulated float operation costs
// eight times as much (measured on Sapphire Rapids). So TCG is recognised by its signature and no
// wide instruction is tried there at all.
#include "tensor/cpu/float_product.h"
#include "tensor/cpu/integer.h"
#include "tensor/cpu/kernels.h"

#include <string.h>
#include <x86intrin.h>

enum { ROWS = 16, K = 256, ROUNDS = 4 };

static bool hypervisor_is(const char *signature)
{
    uint32_t a = 1, b = 0, c = 0, d = 0;
    char name[12];
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(c >> 31)) {
        return false;
    }
    a = 0x40000000u;
    c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    memcpy(name, &b, 4);
    memcpy(name + 4, &c, 4);
    memcpy(name + 8, &d, 4);
    return memcmp(name, signature, sizeof name) == 0;
}

struct sample {
    uint8_t q8[ROWS * K / 32 * 34];
    float f32[ROWS * K], column[K], scales[K / 32], out[ROWS];
    int8_t values[K];
    _Alignas(8) uint8_t arranged[K * 2];
    int32_t sums[K / 32];
};

// Cycles of the fastest of a few rounds: interruptions only lengthen.
static uint64_t cycles(enum tn_isa isa, struct sample *s)
{
    const struct tn_float_kernels *floats = tn_float_kernels_of(isa);
    const struct tn_float_columns plain = {.floats = s->column, .columns = 1, .k = K};
    const struct tn_integer_kernels *integers = tn_integer_kernels_of(isa);
    tn_row_product *product = tn_row_product_of(isa, TN_Q8_0);
    struct tn_columns column = {.kind = TN_COLUMNS_32,
                                .k = K,
                                .values = s->values,
                                .scales = s->scales,
                                .sums = s->sums,
                                .arranged = s->arranged,
                                .arranged_bytes = integers->arranged_bytes};
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t begun = __rdtsc();
        integers->quantise(TN_COLUMNS_32, s->column, K, s->values, s->scales, s->sums);
        if (integers->arrange) {
            integers->arrange(s->values, K, s->arranged);
        }
        product(s->q8, K / 32 * 34, ROWS, &column, 1, s->out, ROWS);
        floats->multiply(TN_F32, (const uint8_t *)s->f32, K * sizeof(float), ROWS, &plain, s->out,
                         ROWS, NULL);
        uint64_t taken = __rdtsc() - begun;
        best = taken < best ? taken : best;
    }
    return best;
}

enum tn_isa tn_isa_measured(void)
{
    enum tn_isa best = tn_isa_best();
    if (best == TN_ISA_SCALAR || hypervisor_is("TCGTCGTCGTCG")) {
        return TN_ISA_SCALAR;
    }
    static struct sample s; // boot only, one caller
    memset(s.q8, 0x3c, sizeof s.q8);
    for (int i = 0; i < K; i++) {
        s.column[i] = (float)(i % 7) - 3.0f;
    }
    for (int i = 0; i < ROWS * K; i++) {
        s.f32[i] = (float)(i % 11) - 5.0f;
    }
    // A wide level must be clearly faster than none, or it is emulated; then a narrower one is
    // tried. On a real processor the factor is three or more, so that noise changes nothing.
    uint64_t scalar = cycles(TN_ISA_SCALAR, &s);
    for (int isa = (int)best; isa > TN_ISA_SCALAR; isa--) {
        if (cycles((enum tn_isa)isa, &s) * 3 / 2 < scalar) {
            return (enum tn_isa)isa;
        }
    }
    return TN_ISA_SCALAR;
}
