// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The PTX that is built in: all kernels with the parameters that the host passes, and nothing that
// would round otherwise than the emulated device does, or call what is not there.
//
// Links: tensor/cuda/kernel_text.c tensor/cuda/device.c tensor/cuda/driver.c
// Libs: -ldl
#include "tensor/cuda/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct expected {
    const char *name;
    size_t bytes;
};
#define EXPECTED(NAME, PARAMETERS, POINTERS) {#NAME, sizeof(struct PARAMETERS)},
#define EXPECTED_PRODUCTS(NAME, TYPE)        CUDA_PRODUCT_KERNEL(NAME, EXPECTED)
static const struct expected expected[] = {CUDA_ROW_KERNELS(EXPECTED)
                                               CUDA_WEIGHT_TYPES(EXPECTED_PRODUCTS)};

static void every_kernel_is_there_with_its_parameters(void **unused)
{
    (void)unused;
    assert_true(cuda_kernel_text[0]); // the build had clang
    assert_int_equal(sizeof expected / sizeof *expected, CUDA_KERNEL_COUNT);
    for (int i = 0; i < CUDA_KERNEL_COUNT; i++) {
        char entry[160];
        assert_string_equal(expected[i].name, cuda_kernel_names[i]);
        snprintf(entry, sizeof entry,
                 ".visible .entry %s(\n\t.param .align 8 .b8 %s_param_0[%zu]\n)", expected[i].name,
                 expected[i].name, expected[i].bytes);
        if (!strstr(cuda_kernel_text, entry)) {
            fail_msg("not in the PTX: %s", entry);
        }
    }
}

static void nothing_rounds_otherwise_or_is_missing(void **unused)
{
    (void)unused;
    // Operations without a rounding mode may be fused by the driver's compiler; approximations and
    // flushed small numbers are the device's own.
    static const char *const wrong[] = {"mul.f32", "add.f32", "sub.f32", ".approx", ".ftz",
                                        ".full",   ".extern", "call",    ".f64",    "vprintf"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (strstr(cuda_kernel_text, wrong[i])) {
            fail_msg("in the PTX: %s", wrong[i]);
        }
    }
    assert_non_null(strstr(cuda_kernel_text, "fma.rn.f32"));
    assert_non_null(strstr(cuda_kernel_text, "div.rn.f32"));
    assert_non_null(strstr(cuda_kernel_text, "sqrt.rn.f32"));
    assert_non_null(strstr(cuda_kernel_text, ".target sm_70"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_is_there_with_its_parameters),
        cmocka_unit_test(nothing_rounds_otherwise_or_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
