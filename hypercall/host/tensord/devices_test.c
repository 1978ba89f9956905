// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Devices: the score by its formula, and nothing that the system does not say.
// Links: hypercall/host/tensord/devices.c
// Libs: -ljansson -ldl
#include "hypercall/host/tensord/devices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void the_score_is_the_formula_and_leaves_out_what_is_not_known(void **unused)
{
    (void)unused;
    struct device d = {.free_memory = 50, .utilisation = 20, .temperature = 60, .resident = 100};
    assert_true(device_score(&d) == 4 * 50 + 2 * 80 + 40 + 800);
    d.temperature = d.utilisation = DEVICE_UNKNOWN;
    assert_true(device_score(&d) == 4 * 50 + 800);
    json_t *j = devices_json(&d, 1);
    assert_int_equal(json_array_size(j), 1);
    assert_null(json_object_get(json_array_get(j, 0), "temperature_celsius"));
    assert_null(json_object_get(json_array_get(j, 0), "utilisation_percent"));
    assert_non_null(json_object_get(json_array_get(j, 0), "free_memory_percent"));
    json_decref(j);
}

static void the_hosts_cores_are_found(void **unused)
{
    (void)unused;
    struct device d[MOST_DEVICES];
    int n = devices_find(d);
    assert_in_range(n, 1, MOST_DEVICES);
    assert_true(!d[0].is_gpu && d[0].has_executor && d[0].memory_bytes > 1 << 20);
    assert_true(d[0].free_memory > 0 && d[0].free_memory <= 100);
    assert_true(d[0].utilisation <= 100);
    for (int i = 1; i < n; i++) {
        assert_true(d[i].is_gpu && !d[i].has_executor);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_score_is_the_formula_and_leaves_out_what_is_not_known),
        cmocka_unit_test(the_hosts_cores_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
