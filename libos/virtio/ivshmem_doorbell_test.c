// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The ivshmem-doorbell driver over a device in plain memory: what it refuses, whom it wakes, what
// it rings.
//
// Links: libos/virtio/ivshmem_doorbell.c
#include "libos/ivshmem_doorbell.h"
#include "libos/log.h"
#include "libos/virtio/device.h"
#include "platform/irq.h"
#include "platform/paging.h"
#include "platform/pci_driver.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// ---- the platform ------------------------------------------------------------------------------
static struct pf_pci_device pci[3]; // a plain one first
static uint32_t registers[64];
static uint8_t memory[8192];
static bool enabled, vectors_used_up, address_is_bad;
static unsigned set_count, mapped_prot, mapped_cache;
static struct {
    pf_irq_handler handler;
    void *arg;
} irqs[8];
static int irq_count;
static unsigned wakes_set;
static struct wake *last_wake;

struct pf_pci_device *pf_pci_driven(const struct pf_pci_driver *driver, size_t nth)
{
    return driver->vendor == 0x1af4 && driver->first == 0x1110 && nth < 3 ? &pci[nth] : NULL;
}
void pf_pci_size(struct pf_pci_device *d)
{
    d->sized = true;
}
void pf_pci_enable(struct pf_pci_device *d)
{
    (void)d;
    enabled = true;
}
volatile void *pf_pci_map_bar(struct pf_pci_device *d, unsigned bar)
{
    (void)d;
    assert_int_equal(bar, 0);
    return registers;
}
void *pf_map_device(uint64_t phys, size_t bytes, unsigned prot, enum pf_cache cache)
{
    assert_int_equal(phys, 0x100000000);
    assert_int_equal(bytes, sizeof memory);
    mapped_prot = prot;
    mapped_cache = cache;
    return memory;
}
const char *pmem_check(uint64_t start, uint64_t bytes)
{
    (void)start;
    (void)bytes;
    return address_is_bad ? "its region overlaps RAM" : NULL;
}
int pf_irq_alloc(pf_irq_handler handler, void *arg)
{
    if (vectors_used_up) {
        return -ENOSPC;
    }
    irqs[irq_count].handler = handler;
    irqs[irq_count].arg = arg;
    return 0x30 + irq_count++;
}
void pf_irq_free(int vector)
{
    (void)vector;
}
int pf_pci_msix_set(struct pf_pci_device *d, unsigned index, int vector, uint32_t cpu_index)
{
    (void)d;
    (void)cpu_index;
    assert_int_equal(vector, 0x30 + (int)index);
    set_count++;
    return 0;
}
void wake_set(struct wake *w)
{
    wakes_set++;
    last_wake = w;
}
void log_line(enum log_level level, const char *module, const char *format, ...)
{
    (void)level;
    (void)module;
    (void)format;
}

static struct wake a = WAKE_INIT, b = WAKE_INIT;
static struct wake *const wakes[] = {&a, &b, &a, &b, &a};

static void fresh_device(void)
{
    memset(pci, 0, sizeof pci);
    for (int i = 1; i < 3; i++) {
        pci[i].msix_cap = 0x40;
        pci[i].msix_count = 2;
        pci[i].bar[0].base = 0xfebf0000;
        pci[i].bar[0].bytes = 256;
        pci[i].bar[2].base = 0x100000000;
        pci[i].bar[2].bytes = sizeof memory;
    }
    registers[2] = 1;
}

// ---- tests -------------------------------------------------------------------------------------
static void devices_that_are_not_as_they_should_be_are_refused(void **unused)
{
    (void)unused;
    struct ivshmem_doorbell *d = NULL;
    const char *why;
    fresh_device();
    assert_int_equal(ivshmem_doorbell_count(), 2); // the plain one has no doorbells
    assert_int_equal(ivshmem_doorbell_open(2, wakes, 2, &d, &why), -ENODEV);
    for (int way = 0; way < 7; way++) {
        fresh_device();
        pci[1].bar[0].base *= way != 0;
        pci[1].bar[0].bytes -= way == 1;
        pci[1].bar[2].base *= way != 2;
        address_is_bad = way == 3;
        pci[1].msix_count = way == 4 ? 1 : 2;
        registers[2] = way == 5 ? UINT32_MAX : 1;
        vectors_used_up = way == 6;
        int rc = ivshmem_doorbell_open(0, wakes, 2, &d, &why);
        assert_int_equal(rc, way == 4 || way == 6 ? -ENOSPC : -EINVAL);
        assert_non_null(why);
        assert_null(d);
        address_is_bad = vectors_used_up = false;
    }
    fresh_device();
    pci[1].msix_count = 8;
    assert_int_equal(ivshmem_doorbell_open(0, wakes, 5, &d, &why), -ENOSPC);
}

static void doorbells_wake_and_ring(void **unused)
{
    (void)unused;
    struct ivshmem_doorbell *d;
    const char *why = "";
    fresh_device();
    irq_count = 0;
    set_count = 0;
    assert_int_equal(ivshmem_doorbell_open(0, wakes, 2, &d, &why), 0);
    assert_null(why);
    assert_ptr_equal(d->memory, memory);
    assert_int_equal(d->bytes, sizeof memory);
    assert_int_equal(d->peer, 1);
    assert_true(enabled);
    assert_int_equal(set_count, 2);
    assert_int_equal(mapped_prot, PF_PROT_READ | PF_PROT_WRITE);
    assert_int_equal(mapped_cache, PF_CACHE_WB);
    irqs[1].handler(irqs[1].arg);
    assert_ptr_equal(last_wake, &b);
    irqs[0].handler(irqs[0].arg);
    assert_ptr_equal(last_wake, &a);
    assert_int_equal(wakes_set, 2);
    assert_int_equal(d->interrupts[0], 1);
    assert_int_equal(d->interrupts[1], 1);
    ivshmem_doorbell_ring(d, 5, 1);
    assert_int_equal(registers[3], 5u << 16 | 1);
    assert_int_equal(ivshmem_doorbell_open(0, wakes, 2, &d, &why), -EINVAL); // it is in use
    assert_non_null(why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_that_are_not_as_they_should_be_are_refused),
        cmocka_unit_test(doorbells_wake_and_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
