// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The devices of a domain, as people are shown them.
//
// Links: hypercall/host/view/devices.c
#include "hypercall/host/view/devices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void collect(void *context, const char *line)
{
    char *all = context;
    snprintf(all + strlen(all), 1000 - strlen(all), "%s|", line);
}

static void devices_are_listed_with_what_names_them(void **state)
{
    (void)state;
    static const char xml[] =
        "<domain type='qemu'>\n  <name>a</name>\n  <devices>\n"
        "    <emulator>/usr/bin/qemu</emulator>\n"
        "    <controller type='pci' index='0' model='pcie-root'/>\n"
        "    <interface type='network'>\n      <source network='default'/>\n"
        "      <model type='virtio'/>\n    </interface>\n"
        "    <hostdev mode='subsystem' type='pci' managed='yes'>\n      <source>\n"
        "        <address domain='0x0000' bus='0x65'/>\n      </source>\n    </hostdev>\n"
        "    <shmem name='x' role='peer'>\n      <server path='/run/a.sock'/>\n    </shmem>\n"
        "    <memballoon model='none'/>\n  </devices>\n  <qemu:commandline>\n"
        "    <qemu:arg value='-device'/>\n    <qemu:arg value='virtio-pmem-pci,id=pmem0'/>\n"
        "  </qemu:commandline>\n</domain>\n";
    char all[1000] = "";
    view_devices(xml, collect, all);
    assert_string_equal(all, "interface network default virtio|hostdev pci subsystem|"
                             "shmem x /run/a.sock|memballoon none|virtio-pmem-pci,id=pmem0|");
    assert_non_null(strstr(view_weights_way(xml), "virtio-pmem"));
}

static void texts_that_break_off_end_the_list(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "\n  <devices>",
                                        "\n  <devices>\n    <disk",
                                        "\n  <devices>\n    <disk>\n  </devices>",
                                        "\n  <devices>\n    <disk type='\n  </devices>",
                                        "<qemu:arg value='-device'/>",
                                        "<qemu:arg value='-device'/><qemu:arg value='"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char all[1000] = "";
        view_devices(texts[i], collect, all);
        assert_true(strlen(all) <= 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_listed_with_what_names_them),
        cmocka_unit_test(texts_that_break_off_end_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
