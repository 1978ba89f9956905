// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The PCI transport: which devices are taken, windows within BARs, vectors shared out, doorbells.
//
// Links: libos/virtio/pci.c libos/virtio/pci_host.c libos/virtio/device.c libos/virtio/queue.c
// Links: libos/virtio/queue_split.c libos/virtio/queue_packed.c libos/virtio/fake_host.c
#include "libos/virtio/pci_host.h"
#include "libos/virtio/sim_host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct virtio_device found_device;
static unsigned found_count;
static bool has_driver(uint32_t type)
{
    return type == VIRTIO_NET || type == VIRTIO_BLK || type == VIRTIO_RNG || type == VIRTIO_PMEM;
}

static void found(const struct virtio_device *model)
{
    found_device = *model;
    found_count++;
}
static unsigned probe(void)
{
    found_count = 0;
    virtio_pci_probe(has_driver, found);
    return found_count;
}

static void make_whole(uint16_t product, uint16_t subsystem)
{
    pci_host_make(product, subsystem, 4, 0x4000);
    pci_host_config[0x34] = 0x40;
    pci_host_capability(0x40, 0x54, 1, 4, 0, 0x1000);      // common
    pci_host_capability(0x54, 0x68, 2, 4, 0x3000, 0x1000); // notify
    pci_host_capability(0x68, 0, 4, 4, 0x2000, 0x1000);    // device
}

static void modern_and_transitional_devices_are_taken(void **state)
{
    (void)state;
    make_whole(0x1041, 0);
    assert_int_equal(probe(), 1);
    assert_int_equal(found_device.type, VIRTIO_NET);
    assert_ptr_equal(found_device.pci.config, pci_host_bar() + 0x2000);
    make_whole(0x1001, VIRTIO_BLK);
    assert_int_equal(probe(), 1);
    assert_int_equal(found_device.type, VIRTIO_BLK);
    make_whole(0x1045, 0); // balloon: no driver
    assert_int_equal(probe(), 0);
    make_whole(0x1110, 0); // ivshmem
    assert_int_equal(probe(), 0);
    make_whole(0x1041, 0);
    pci_host_device.vendor = 0x8086;
    assert_int_equal(probe(), 0);
}

static void windows_outside_their_bar_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint8_t bar;
        uint32_t offset, bytes;
    } bad[] = {{4, 0x4000, 0x100},    {4, 0x3ff0, 0x100}, {4, 0xffffffff, 0x100},
               {4, 0xfffffffc, 0x38}, {4, 0, 0x37},       {4, 2, 0x100},
               {3, 0, 0x100},         {6, 0, 0x100},      {255, 0, 0x100},
               {4, 0, 0xffffffff}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make_whole(0x1041, 0);
        pci_host_capability(0x40, 0x54, 1, bad[i].bar, bad[i].offset, bad[i].bytes);
        assert_int_equal(probe(), 0);
    }
    make_whole(0x1041, 0);
    pci_host_device.bar[4].is_io = 1;
    assert_int_equal(probe(), 0);
}

static void a_later_usable_window_stands_in(void **state)
{
    (void)state;
    make_whole(0x1041, 0);
    pci_host_capability(0x68, 0x80, 4, 4, 0x2000, 0x1000);
    pci_host_capability(0x40, 0x54, 1, 9, 0, 0x1000);
    pci_host_capability(0x80, 0, 1, 4, 0x1000, 0x1000);
    assert_int_equal(probe(), 1);
    assert_ptr_equal(found_device.pci.common, pci_host_bar() + 0x1000);
}

static void a_loop_of_capabilities_ends(void **state)
{
    (void)state;
    make_whole(0x1041, 0);
    pci_host_config[0x69] = 0x40;
    assert_int_equal(probe(), 1);
}

static void vectors_are_shared_out(void **state)
{
    (void)state;
    static const struct {
        uint16_t entries;
        unsigned vectors;
        uint16_t first, second;
    } cases[] = {{3, 3, 1, 2}, {8, 3, 1, 2}, {2, 2, 1, 1}, {1, 1, 0, 0}};
    for (size_t i = 0; i < 4; i++) {
        make_whole(0x1041, 0);
        pci_host_device.msix_cap = 0x98;
        pci_host_device.msix_count = cases[i].entries;
        assert_int_equal(probe(), 1);
        struct virtio_device d = found_device;
        virtio_interrupts(&d, 2);
        assert_false(d.polled);
        assert_int_equal(d.vectors, cases[i].vectors);
        assert_int_equal(d.pci.queue_vector[0], cases[i].first);
        assert_int_equal(d.pci.queue_vector[1], cases[i].second);
        assert_int_equal(d.pci.config_vector, 0);
    }
    make_whole(0x1041, 0);
    assert_int_equal(probe(), 1);
    struct virtio_device d = found_device;
    virtio_interrupts(&d, 2);
    assert_true(d.polled);
    assert_int_equal(d.pci.queue_vector[0], 0xffff);
}

static void doorbells_stay_in_their_window(void **state)
{
    (void)state;
    make_whole(0x1041, 0);
    assert_int_equal(probe(), 1);
    struct virtio_device d = found_device;
    uint8_t ring[4096] __attribute__((aligned(16)));
    struct vq_slot slots[8];
    struct vq_config c = {false, false, 8, 0, ring, (uintptr_t)ring, slots};
    struct vq q;
    assert_int_equal(vq_init(&q, &c), 0);
    uint8_t *common = pci_host_bar();
    uint16_t offset = 0x3ff; // times 4: the last two bytes but two
    memcpy(common + 30, &offset, 2);
    assert_int_equal(d.ops->queue_enable(&d, 0, &q), 0);
    assert_int_equal(common[28], 1);
    d.ops->notify(&d, 0);
    common[28] = 0;
    offset = 0x400;
    memcpy(common + 30, &offset, 2);
    assert_int_equal(d.ops->queue_enable(&d, 0, &q), -EIO);
    assert_int_equal(common[28], 0);
}

static void the_configuration_ends_where_it_ends(void **state)
{
    (void)state;
    make_whole(0x1041, 0);
    pci_host_capability(0x68, 0, 4, 4, 0x2000, 12);
    assert_int_equal(probe(), 1);
    struct virtio_device d = found_device;
    memset(pci_host_bar() + 0x2000, 0x11, 16);
    assert_int_equal(d.ops->config(&d, 8, 4), 0x11111111);
    assert_int_equal(d.ops->config(&d, 10, 4), UINT32_MAX);
    assert_int_equal(d.ops->config(&d, 12, 1), UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modern_and_transitional_devices_are_taken),
        cmocka_unit_test(windows_outside_their_bar_are_refused),
        cmocka_unit_test(a_later_usable_window_stands_in),
        cmocka_unit_test(a_loop_of_capabilities_ends),
        cmocka_unit_test(vectors_are_shared_out),
        cmocka_unit_test(doorbells_stay_in_their_window),
        cmocka_unit_test(the_configuration_ends_where_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
