// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which ivshmem-plain regions are channels and which are weights, and how each is mapped.
//
// Links: libos/virtio/ivshmem.c libos/virtio/pmem.c libos/virtio/device.c libos/virtio/queue.c
// Links: libos/virtio/queue_split.c libos/virtio/queue_packed.c libos/virtio/fake_host.c
#include "libos/ivshmem.h"
#include "libos/virtio/sim_host.h"
#include "platform/boot.h"
#include "platform/paging.h"
#include "platform/pci_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define REGION 8192u

static struct pf_pci_device devices[20];
static size_t device_count;
static unsigned writable_maps, readable_maps, enabled;
static _Alignas(4096) uint8_t memory[6][REGION];
static struct pf_range ram = {.base = 0x1000, .length = 0x10000, .type = PF_RANGE_RAM};
static struct pf_boot_info boot;

const struct pf_boot_info *pf_boot_info(void)
{
    boot.ranges[0] = ram;
    boot.range_count = 1;
    return &boot;
}
struct pf_pci_device *pf_pci_driven(const struct pf_pci_driver *driver, size_t nth)
{
    assert_int_equal(driver->vendor, 0x1af4);
    assert_int_equal(driver->first, 0x1110);
    assert_int_equal(driver->last, 0x1110);
    return nth < device_count ? &devices[nth] : NULL;
}
void pf_pci_enable(struct pf_pci_device *d)
{
    (void)d;
    enabled++;
}
void *pf_map_device(uint64_t phys, size_t bytes, unsigned prot, enum pf_cache cache)
{
    assert_int_equal(cache, PF_CACHE_WB);
    assert_int_equal(prot & PF_PROT_EXEC, 0);
    writable_maps += (prot & PF_PROT_WRITE) != 0;
    readable_maps += prot == PF_PROT_READ && bytes == REGION;
    return (void *)phys;
}

static struct pf_pci_device *add(const void *at, const char *start)
{
    struct pf_pci_device *d = &devices[device_count++];
    *d = (struct pf_pci_device){.device = (uint8_t)device_count};
    d->bar[2].base = (uintptr_t)at;
    d->bar[2].bytes = REGION;
    if (start) {
        memcpy((void *)(uintptr_t)at, start, strlen(start));
    }
    return d;
}

static void regions_are_told_apart(void **state)
{
    (void)state;
    add(memory[0], "GGUF, weights");
    add(memory[1], "TSRCHAN1");
    add(memory[2], NULL);                     // zeros: nobody has made a channel of it yet
    add(memory[3], "doorbell")->msix_cap = 1; // not plain
    add(memory[4], "GGUF")->bar[2].base = 0;  // has no address
    add((void *)0x2000, NULL);                // within RAM
    add(memory[5], "TSRCHAN1");
    ivshmem_probe();
    pmem_probe_ivshmem();
    assert_int_equal(fake_log_errors, 1); // the one within RAM
    assert_int_equal(ivshmem_plain_count(), 4);
    assert_int_equal(enabled, 4);
    assert_string_equal(ivshmem_plain_at(1)->location, "pci 00:02.0");
    assert_int_equal(ivshmem_plain_at(1)->phys, (uintptr_t)memory[1]);
    assert_int_equal(ivshmem_plain_at(1)->bytes, REGION);
    assert_null(ivshmem_plain_at(4));
    assert_int_equal(pmem_count(), 1);
    assert_ptr_equal(pmem_at(0)->data, memory[0]);
    assert_int_equal(readable_maps, 1);
    assert_int_equal(writable_maps, 0);
    // Mapped to be written only when asked, once.
    assert_ptr_equal(ivshmem_plain_map(1), memory[1]);
    assert_ptr_equal(ivshmem_plain_map(1), memory[1]);
    assert_int_equal(writable_maps, 1);
    assert_null(ivshmem_plain_map(4));
}

static void there_is_an_end_to_regions(void **state)
{
    (void)state;
    device_count = 0;
    for (unsigned i = 0; i < 20; i++) {
        add(memory[1], NULL);
    }
    fake_log_errors = 0;
    ivshmem_probe(); // on top of the four
    assert_int_equal(ivshmem_plain_count(), 16);
    assert_int_equal(fake_log_errors, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_are_told_apart),
        cmocka_unit_test(there_is_an_end_to_regions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
