// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Devices: the score by its formula, and nothing that the system does not say.
// Links: hypercall/host/tensord/devices.c tensor/cuda/device.c tensor/cuda/driver.c
// Links: tensor/cuda/kernel_text.c hypercall/host/hardware/nvml.c
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

static void the_best_of_those_that_compute_is_chosen(void **unused)
{
    (void)unused;
    struct device d[3] = {{.has_executor = true, .free_memory = 40, .utilisation = 90},
                          {.is_gpu = true, .free_memory = 95, .utilisation = 0},
                          {.is_gpu = true, .free_memory = 80, .utilisation = 30}};
    assert_int_equal(devices_best(d, 3), 0); // the others compute nothing
    d[1].has_executor = d[2].has_executor = true;
    assert_int_equal(devices_best(d, 3), 1);
    d[1].utilisation = 100;
    assert_int_equal(devices_best(d, 3), 2);
    d[1] = d[2];
    assert_int_equal(devices_best(d, 3), 1);
    d[0].has_executor = false;
    assert_int_equal(devices_best(d, 1), -1);
    assert_int_equal(devices_best(d, 0), -1);
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
        assert_true(d[i].is_gpu && (!d[i].has_executor || d[i].bus_id[0]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_score_is_the_formula_and_leaves_out_what_is_not_known),
        cmocka_unit_test(the_best_of_those_that_compute_is_chosen),
        cmocka_unit_test(the_hosts_cores_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
