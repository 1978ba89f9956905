// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// From --device to <hostdev>: what a user's own libvirt may give, and what other guests have.
//
// Links: hypercall/host/machine/hostdev.c hypercall/host/machine/text.c
// Links: hypercall/host/hardware/files.c hypercall/host/hardware/pci.c
// Links: hypercall/host/hardware/devices.c hypercall/host/hardware/wishes.c
// Links: hypercall/host/hardware/image.c hypercall/host/hardware/nvml.c
// Links: hypercall/host/hardware/tree_host.c
// Libs: -lvirt
#include "hypercall/host/machine/hostdev.h"
#include "hypercall/host/hardware/tree_host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char error[1200];
static struct hardware_chosen chosen;

static int set_up(void **state)
{
    (void)state;
    tree_make();
    tree_device("0000:3b:00.1", 0x8086, 0x1572, 0x020000, "vfio-pci", 7, 1);
    tree_device("0001:5e:1f.7", 0x15b3, 0x101d, 0x020000, "mlx5_core", 9, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tree_remove();
    return 0;
}

static int choose(const char *text, virConnectPtr c, bool is_system)
{
    struct hardware_wishes w = {0};
    assert_int_equal(hardware_wishes_add(&w, text, error, sizeof error), 0);
    return machine_choose_devices(tree, &w, "/bin/true", c, is_system, &chosen, error,
                                  sizeof error);
}

static void an_image_that_claims_nothing_has_no_gpu_driver(void **state)
{
    (void)state;
    assert_int_equal(choose("gpu:auto", NULL, true), -ENOTSUP);
    assert_non_null(strstr(error, "--offload"));
}

static void a_users_libvirt_gives_what_it_may(void **state)
{
    (void)state;
    assert_int_equal(choose("nic:3b:00.1", NULL, false), -EPERM);
    assert_non_null(strstr(error, "/dev/vfio/7"));
    tree_file("/dev/vfio/7", "%s", "");
    assert_int_equal(choose("nic:3b:00.1", NULL, false), 0);
    assert_int_equal(choose("nic:1:5e:1f.7", NULL, false), -EPERM);
    assert_non_null(strstr(error, "mlx5_core"));
    assert_int_equal(chosen.count, 0);
    assert_int_equal(choose("nic:1:5e:1f.7", NULL, true), 0);
}

// libvirt's driver for tests keeps domains in memory and starts nothing.
static void running_domains_keep_theirs(void **state)
{
    static const char xml[] =
        "<domain type='test'><name>other</name><memory>1024</memory><os><type>hvm</type></os>"
        "<devices><hostdev mode='subsystem' type='pci' managed='yes'><source>"
        "<address domain='0x0' bus='0x3b' slot='0x0' function='0x1'/></source></hostdev></devices>"
        "</domain>";
    (void)state;
    virConnectPtr c = virConnectOpen("test:///default");
    if (!c) {
        skip(); // libvirt without that driver
    }
    virDomainPtr d = virDomainCreateXML(c, xml, 0);
    assert_non_null(d);
    assert_int_equal(choose("nic:3b:00.1", c, true), -EBUSY);
    assert_non_null(strstr(error, "belongs to the guest 'other'"));
    virDomainDestroy(d);
    virDomainFree(d);
    assert_int_equal(choose("nic:3b:00.1", c, true), 0);
    virConnectClose(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_image_that_claims_nothing_has_no_gpu_driver),
        TEST(a_users_libvirt_gives_what_it_may),
        TEST(running_domains_keep_theirs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
