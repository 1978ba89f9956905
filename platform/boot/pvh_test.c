// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading a PVH start info: what is there arrives, what is missing or outside is named.
// Links: platform/boot/pvh.c
#include "platform/boot/pvh.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

// Physical 0x1000 on; everything else cannot be read.
static struct {
    struct pvh_memmap map[2];
    struct pvh_module modules[PF_MAX_MODULES + 1];
    char cmdline[PF_MAX_CMDLINE + 8];
} memory;
#define AT(field) (0x1000 + (uint64_t)((char *)&memory.field - (char *)&memory))

static const void *at(uint64_t phys, uint64_t bytes)
{
    return phys >= 0x1000 && phys - 0x1000 <= sizeof memory &&
                   bytes <= sizeof memory - (phys - 0x1000)
               ? (const char *)&memory + (phys - 0x1000)
               : NULL;
}

static struct pf_boot_info info;
static struct pvh_start_info start;

static int fresh(void **state)
{
    (void)state;
    memset(&memory, 0, sizeof memory);
    memset(&info, 0xff, sizeof info);
    memory.map[0] = (struct pvh_memmap){0, 0x9fc00, 1, 0};
    memory.map[1] = (struct pvh_memmap){0x100000, 0x1000000, 1, 0};
    memory.modules[0] = (struct pvh_module){0x800000, 77, 0, 0};
    strcpy(memory.cmdline, "model=a quiet");
    start = (struct pvh_start_info){PVH_MAGIC,   1,       0,       1, AT(modules),
                                    AT(cmdline), 0xf5a00, AT(map), 2, 0};
    return 0;
}

static void everything_given_arrives(void **state)
{
    (void)state;
    assert_null(pf_pvh_read(&start, &info, at));
    assert_int_equal(info.source, PF_BOOT_PVH);
    assert_int_equal(info.rsdp, 0xf5a00);
    assert_int_equal(info.range_count, 2);
    assert_int_equal(info.ranges[1].length, 0x1000000);
    assert_int_equal(info.module_count, 1);
    assert_int_equal(info.modules[0].length, 77);
    assert_string_equal(info.cmdline, "model=a quiet");
}

static void no_command_line_and_empty_modules_are_fine(void **state)
{
    (void)state;
    start.cmdline = 0;
    memory.modules[0].length = 0;
    assert_null(pf_pvh_read(&start, &info, at));
    assert_string_equal(info.cmdline, "");
    assert_int_equal(info.module_count, 0);
}

static void a_missing_memory_map_is_an_error(void **state)
{
    (void)state;
    start.version = 0;
    assert_non_null(pf_pvh_read(&start, &info, at));
    start.version = 1;
    start.memmap_count = 0;
    assert_non_null(pf_pvh_read(&start, &info, at));
    start.memmap_count = PF_MAX_RANGES + 1;
    assert_non_null(pf_pvh_read(&start, &info, at));
    start.memmap_count = 2;
    start.memmap = 0;
    assert_non_null(pf_pvh_read(&start, &info, at));
}

static void lists_outside_memory_or_too_long_are_errors(void **state)
{
    (void)state;
    start.module_count = PF_MAX_MODULES + 1;
    assert_non_null(pf_pvh_read(&start, &info, at));
    fresh(NULL);
    start.modules = UINT64_MAX - 8;
    assert_non_null(pf_pvh_read(&start, &info, at));
    fresh(NULL);
    start.magic++;
    assert_non_null(pf_pvh_read(&start, &info, at));
    fresh(NULL);
    memset(memory.cmdline, 'x', sizeof memory.cmdline);
    assert_non_null(pf_pvh_read(&start, &info, at));
    memory.cmdline[PF_MAX_CMDLINE] = '\0'; // one byte too long
    assert_non_null(pf_pvh_read(&start, &info, at));
    memory.cmdline[PF_MAX_CMDLINE - 1] = '\0';
    assert_null(pf_pvh_read(&start, &info, at));
    assert_int_equal(strlen(info.cmdline), PF_MAX_CMDLINE - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(everything_given_arrives, fresh),
        cmocka_unit_test_setup(no_command_line_and_empty_modules_are_fine, fresh),
        cmocka_unit_test_setup(a_missing_memory_map_is_an_error, fresh),
        cmocka_unit_test_setup(lists_outside_memory_or_too_long_are_errors, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
