// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What another machine has, against libvirt's test driver: two memory nodes of eight CPUs; and
// IOMMU groups as libvirt writes them.
//
// Links: hypercall/host/remote/options.c hypercall/host/remote/devices.c
// Links: hypercall/host/remote/volume.c hypercall/host/remote/state.c
// Links: hypercall/host/hardware/devices.c hypercall/host/hardware/wishes.c
// Links: hypercall/host/hardware/files.c hypercall/host/hardware/pci.c
// Links: hypercall/host/hardware/image.c hypercall/host/hardware/nvml.c
// Links: hypercall/host/hardware/permission.c hypercall/host/machine/host.c
// Links: hypercall/host/machine/watch.c hypercall/host/machine/facts.c
// Links: hypercall/host/machine/values.c hypercall/host/machine/text.c
// Libs: -lvirt
#include "hypercall/host/remote/private.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static virConnectPtr c;
static char error[400];

static void quiet(void *context, virErrorPtr e)
{
    (void)context;
    (void)e;
}

static int connect_to(void **unused)
{
    (void)unused;
    virSetErrorFunc(NULL, quiet);
    c = virConnectOpen("test:///default");
    return c ? 0 : -1;
}

static int leave(void **unused)
{
    (void)unused;
    return virConnectClose(c);
}

static void cpus_that_are_not_there_are_refused(void **unused)
{
    (void)unused;
    assert_int_equal(remote_check_pin(c, "0,2", error, sizeof error), 0);
    assert_int_equal(remote_check_pin(c, "0-1", error, sizeof error), -ENODEV); // CPU 1 is off
    assert_int_equal(remote_check_pin(c, "0,999", error, sizeof error), -ENODEV);
    assert_non_null(strstr(error, "--pin: the other machine has no CPU 999"));
}

static void a_node_has_its_cpus(void **unused)
{
    (void)unused;
    struct machine_cell cells[MACHINE_MOST_CELLS];
    uint32_t count;
    assert_int_equal(remote_cells(c, "0-1", cells, &count, error, sizeof error), 0);
    assert_int_equal(count, 2);
    assert_string_equal(cells[0].cpus, "0,1,2,3,4,5,6,7");
    assert_int_equal(cells[1].node, 1);
    assert_string_equal(cells[1].cpus, "8,9,10,11,12,13,14,15");
    assert_int_equal(remote_cells(c, "1,5", cells, &count, error, sizeof error), -ENODEV);
    assert_non_null(strstr(error, "no memory node 5"));
}

static void huge_pages_that_are_not_free_are_refused(void **unused)
{
    (void)unused;
    // The driver's nodes have 19 and 45 pages.
    assert_int_equal(remote_check_pages(c, 2048, 128, error, sizeof error), 0);
    assert_int_equal(remote_check_pages(c, 2048, 130, error, sizeof error), -ENOMEM);
    assert_int_equal(remote_check_pages(c, 2048, 1u << 30, error, sizeof error), -ENOMEM);
    assert_non_null(strstr(error, "536870912 pages of 2 MB"));
}

static void emulated_guests_nest_by_svm(void **unused)
{
    (void)unused;
    assert_string_equal(remote_nested(c, false), "svm");
    assert_null(remote_nested(c, true)); // the driver has no KVM
}

// ---- devices -----------------------------------------------------------------------------------

static const char group[] = "<device><capability type='pci'><class>0x020000</class>"
                            "<iommuGroup number='12'>"
                            "<address domain='0x0000' bus='0x64' slot='0x00' function='0x0'/>"
                            "<address domain='0x0000' bus='0x65' slot='0x00' function='0x0'/>"
                            "<address domain='0x0000' bus='0x65' slot='0x00' function='0x1'/>"
                            "</iommuGroup></capability></device>";

static char *describe(void *context, const char *address)
{
    (void)context;
    return strcmp(address, "0000:64:00.0") == 0 ? strdup("<class>0x060400</class>")
                                                : strdup("<class>0x020000</class>");
}

static int fits(const char *wishes, const char *xml)
{
    struct hardware_wishes all = {0};
    assert_int_equal(hardware_wishes_add(&all, wishes, error, sizeof error), 0);
    return remote_check_group(&all, "0000:65:00.0", xml, describe, NULL, error, sizeof error);
}

static void a_group_goes_as_a_whole(void **unused)
{
    (void)unused;
    assert_int_equal(fits("pci:65:00.0,pci:65:00.1", group), 0); // without its bridge
    assert_int_equal(fits("pci:65:00.0", group), -EBUSY);
    assert_non_null(strstr(error, "shares its IOMMU group with 0000:65:00.1"));
    assert_int_equal(fits("pci:65:00.0", "<device><class>0x020000</class></device>"), -ENXIO);
}

static void what_cannot_be_told_from_here_is_refused(void **unused)
{
    (void)unused;
    struct hardware_wishes all = {0};
    assert_int_equal(hardware_wishes_add(&all, "gpu:auto", error, sizeof error), 0);
    assert_int_equal(remote_check_devices(c, &all, error, sizeof error), -ENOTSUP);
    all = (struct hardware_wishes){0};
    assert_int_equal(hardware_wishes_add(&all, "pci:65:00.0", error, sizeof error), 0);
    assert_int_equal(remote_check_devices(c, &all, error, sizeof error), -ENODEV);
    assert_non_null(strstr(error, "no PCI device 0000:65:00.0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpus_that_are_not_there_are_refused),
        cmocka_unit_test(a_node_has_its_cpus),
        cmocka_unit_test(huge_pages_that_are_not_free_are_refused),
        cmocka_unit_test(emulated_guests_nest_by_svm),
        cmocka_unit_test(a_group_goes_as_a_whole),
        cmocka_unit_test(what_cannot_be_told_from_here_is_refused),
    };
    return cmocka_run_group_tests(tests, connect_to, leave);
}
