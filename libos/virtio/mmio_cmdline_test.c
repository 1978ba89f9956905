// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// virtio_mmio.device= on the command line.
// Links: libos/virtio/mmio_cmdline.c
#include "libos/virtio/mmio_cmdline.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void entries_are_found_in_order(void **state)
{
    (void)state;
    const char *at = "model=x virtio_mmio.device=512@0xfeb00e00:12 log=debug "
                     "virtio_mmio.device=4K@0xd0000000:5:3 not.virtio_mmio.device=1@1:1";
    struct mmio_entry e;
    assert_int_equal(mmio_cmdline_next(&at, &e), 1);
    assert_int_equal(e.base, 0xfeb00e00);
    assert_int_equal(e.bytes, 512);
    assert_int_equal(e.gsi, 12);
    assert_int_equal(mmio_cmdline_next(&at, &e), 1);
    assert_int_equal(e.base, 0xd0000000);
    assert_int_equal(e.bytes, 4096);
    assert_int_equal(e.gsi, 5);
    assert_int_equal(mmio_cmdline_next(&at, &e), 0);
    assert_int_equal(mmio_cmdline_next(&at, &e), 0);
}

static void malformed_entries_are_refused_and_passed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "virtio_mmio.device=",
        "virtio_mmio.device=512",
        "virtio_mmio.device=512@",
        "virtio_mmio.device=512@0x1000",
        "virtio_mmio.device=512@0x1000:",
        "virtio_mmio.device=512@0x1000:5x",
        "virtio_mmio.device=512@0x:5",
        "virtio_mmio.device=16@0x1000:5",
        "virtio_mmio.device=999999@0x1000:5",
        "virtio_mmio.device=64k@0x1001:5",
        "virtio_mmio.device=65K@0x1000:5",
        "virtio_mmio.device=512@0x1000:99999",
        "virtio_mmio.device=512@0xffffffffffffffffff:5",
        "virtio_mmio.device=512 @0x1000:5",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *at = bad[i];
        struct mmio_entry e;
        assert_int_equal(mmio_cmdline_next(&at, &e), -EINVAL);
        assert_int_equal(mmio_cmdline_next(&at, &e), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_found_in_order),
        cmocka_unit_test(malformed_entries_are_refused_and_passed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
