// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Enumeration and BAR assignment over a configuration space made of arrays, with bridges, absent
// functions, and firmware that did all, some or nothing.
// Links: platform/pci/enumerate.c platform/pci/assign.c
#include "platform/pci/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

struct function {
    uint16_t bdf; // on its parent's secondary bus
    uint32_t words[64];
    uint32_t bar_mask[6]; // writable bits; the rest reads as in words
};
static struct function functions[16];
static size_t function_count;
static unsigned accesses;

// A function answers when every bridge on the way forwards its bus: with one level, when some
// bridge on bus 0 has exactly that secondary number, or the bus is 0. The fake keys devices behind
// a bridge by 0x80 + the bridge's index, so that renumbering moves them.
static struct function *at(uint16_t bdf)
{
    for (size_t i = 0; i < function_count; i++) {
        struct function *f = &functions[i];
        uint8_t bus = (uint8_t)(f->bdf >> 8);
        if (bus >= 0x80) {
            uint32_t buses = functions[bus - 0x80].words[PCI_BUSES / 4];
            bus = (uint8_t)(buses >> 8);
            if (bus == 0) {
                continue;
            }
        }
        if (bdf == (uint16_t)(bus << 8 | (f->bdf & 0xff))) {
            return f;
        }
    }
    return NULL;
}

static uint32_t fake_read(void *ctx, uint16_t bdf, uint16_t offset)
{
    (void)ctx;
    accesses++;
    struct function *f = at(bdf);
    return f && offset < 256 ? f->words[offset / 4] : UINT32_MAX;
}

static void fake_write(void *ctx, uint16_t bdf, uint16_t offset, uint32_t value)
{
    (void)ctx;
    struct function *f = at(bdf);
    if (f == NULL || offset >= 256) {
        return;
    }
    unsigned bars = (f->words[3] >> 16 & 0x7f) == 1 ? 2 : 6;
    if (offset >= PCI_BAR0 && offset < PCI_BAR0 + 4 * bars) {
        unsigned b = (offset - PCI_BAR0) / 4u;
        f->words[offset / 4] = (value & f->bar_mask[b]) | (f->words[offset / 4] & ~f->bar_mask[b]);
    } else if (offset == PCI_COMMAND) {
        f->words[1] = (f->words[1] & 0xffff0000u) | (value & 0xffff);
    } else {
        f->words[offset / 4] = value;
    }
}

static struct pci_tree tree;

static int setup(void **state)
{
    (void)state;
    memset(functions, 0, sizeof(functions));
    function_count = 0;
    accesses = 0;
    memset(&tree, 0, sizeof(tree));
    tree.config = (struct pci_config){fake_read, fake_write, NULL, 0, 31};
    return 0;
}

static struct function *add(uint16_t bdf, uint16_t vendor, uint8_t header)
{
    struct function *f = &functions[function_count++];
    f->bdf = bdf;
    f->words[0] = 0x10410000u | vendor;
    f->words[2] = 0x02000001;
    f->words[3] = (uint32_t)header << 16;
    return f;
}

static void bar32(struct function *f, unsigned b, uint32_t bytes)
{
    f->bar_mask[b] = ~(bytes - 1);
}

static void bar64(struct function *f, unsigned b, uint64_t bytes)
{
    f->words[4 + b] = 0xc; // 64-bit, prefetchable
    f->bar_mask[b] = (uint32_t) ~(bytes - 1) & ~0xfu;
    f->bar_mask[b + 1] = (uint32_t)(~(bytes - 1) >> 32);
}

static const struct pci_windows q35 = {{0xe0000000, 0xfe000000}, {0xc000000000, 0x10000000000}};

static void sizes_of_all_kinds_of_bars_are_found_and_values_put_back(void **state)
{
    (void)state;
    struct function *f = add(1 << 3, 0x1af4, 0);
    f->words[4] = 1; // I/O
    f->bar_mask[0] = 0xffe0;
    f->words[4] |= 0xc040;
    bar32(f, 1, 4096);
    f->words[5] = 0xfebd1000;
    bar64(f, 4, 1ull << 33);
    f->words[1] = 0x00100007;
    f->words[PCI_CAPABILITIES / 4] = 0x98;
    f->words[0x98 / 4] = 0x0003a009; // vendor capability, next 0xa0
    f->words[0xa0 / 4] = 0x00040011; // MSI-X, 5 entries
    pci_enumerate(&tree);
    assert_int_equal(tree.count, 1);
    const struct pf_pci_device *d = &tree.device[0];
    assert_int_equal(d->bar[0].is_io, 1);
    assert_int_equal(d->bar[0].base, 0xc040);
    assert_int_equal(d->bar[0].bytes, 32);
    assert_int_equal(d->bar[1].base, 0xfebd1000);
    assert_int_equal(d->bar[1].bytes, 4096);
    assert_int_equal(d->bar[4].bytes, 1ull << 33);
    assert_int_equal(d->bar[4].is_64, 1);
    assert_int_equal(d->bar[5].bytes, 0);
    assert_int_equal(d->msix_cap, 0xa0);
    assert_int_equal(d->msix_count, 5);
    assert_int_equal(f->words[5], 0xfebd1000);
    assert_int_equal(f->words[1], 0x00100007);
}

static void absent_devices_cost_one_read_each(void **state)
{
    (void)state;
    pci_enumerate(&tree);
    assert_int_equal(tree.count, 0);
    assert_int_equal(accesses, 32);
}

static void chipset_functions_in_use_are_sized_only_when_somebody_asks(void **state)
{
    (void)state;
    struct function *ahci = add(0xf8, 0x8086, 0);
    ahci->words[2] = 0x01060102;
    ahci->words[1] = 7;
    bar32(ahci, 5, 4096);
    ahci->words[9] = 0xe0000000;
    pci_enumerate(&tree);
    assert_int_equal(tree.count, 1);
    assert_false(tree.device[0].sized);
    pci_size_bars(&tree.config, &tree.device[0]);
    assert_int_equal(tree.device[0].bar[5].bytes, 4096);
    // Once a BAR has to be placed, all must be known.
    struct function *nic = add(8, 0x1af4, 0);
    bar32(nic, 1, 4096);
    pci_enumerate(&tree);
    pci_assign(&tree, &q35);
    assert_int_equal(tree.unassigned, 0);
    assert_int_equal(nic->words[5], 0xe0001000);
}

static void functions_beyond_the_first_only_with_the_multifunction_bit(void **state)
{
    (void)state;
    add(0x10, 1, 0);
    add(0x12, 1, 0);
    add(0x18, 1, 0x80);
    add(0x1a, 1, 0);
    pci_enumerate(&tree);
    assert_int_equal(tree.count, 3);
}

static void unassigned_bars_get_distinct_aligned_addresses_in_the_window(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 4; i++) {
        struct function *f = add((uint16_t)(i << 3), 0x1af4, 0);
        bar32(f, 1, 4096u << i);
        bar64(f, 4, 16384);
    }
    functions[2].words[5] = 0xe0000000; // one was assigned, right at the window's start
    pci_enumerate(&tree);
    pci_assign(&tree, &q35);
    assert_int_equal(tree.unassigned, 0);
    assert_int_equal(tree.device[2].bar[1].base, 0xe0000000);
    for (size_t i = 0; i < tree.count; i++) {
        for (unsigned b = 0; b < 6; b++) {
            uint64_t base = tree.device[i].bar[b].base, bytes = tree.device[i].bar[b].bytes;
            if (bytes == 0) {
                continue;
            }
            assert_true(base >= q35.low.base && base + bytes <= q35.low.end);
            assert_int_equal(base & (bytes - 1), 0);
            assert_int_equal(functions[i].words[4 + b] & ~0xfu, base);
            for (size_t k = 0; k < tree.count; k++) {
                for (unsigned c = 0; c < 6; c++) {
                    uint64_t o = tree.device[k].bar[c].base, n = tree.device[k].bar[c].bytes;
                    assert_true((i == k && b == c) || n == 0 || base + bytes <= o || o + n <= base);
                }
            }
        }
    }
}

static void large_bars_go_high_when_they_may_and_otherwise_are_reported(void **state)
{
    (void)state;
    struct function *f = add(1 << 3, 0x1af4, 0);
    bar64(f, 2, 1ull << 34);
    struct function *g = add(2 << 3, 0x1af4, 0);
    bar32(g, 0, 1u << 30); // 1 GB below 4 GB: no room
    pci_enumerate(&tree);
    pci_assign(&tree, &q35);
    assert_int_equal(tree.device[0].bar[2].base, 0xc000000000);
    assert_int_equal(f->words[7], 0xc0);
    assert_int_equal(tree.unassigned, 1);
    assert_int_equal(tree.device[1].bar[0].base, 0);
}

static void a_bridge_left_alone_gets_numbers_and_a_window(void **state)
{
    (void)state;
    struct function *bridge = add(3 << 3, 0x1b36, 1);
    struct function *behind = add(0x80 << 8, 0x1af4, 0);
    bar64(behind, 4, 16384);
    bar32(behind, 1, 4096);
    pci_enumerate(&tree);
    assert_int_equal(tree.count, 2);
    assert_int_equal(tree.device[1].bus, 1);
    assert_int_equal(bridge->words[PCI_BUSES / 4] & 0xffffff, 0x010100);
    pci_assign(&tree, &q35);
    assert_int_equal(tree.unassigned, 0);
    uint32_t window = bridge->words[PCI_BRIDGE_MEMORY / 4];
    uint64_t base = (uint64_t)(window & 0xfff0) << 16, end = (window & 0xfff00000u) + 0x100000ull;
    for (unsigned b = 0; b < 6; b++) {
        if (tree.device[1].bar[b].bytes) {
            assert_true(tree.device[1].bar[b].base >= base);
            assert_true(tree.device[1].bar[b].base + tree.device[1].bar[b].bytes <= end);
        }
    }
    assert_int_equal(bridge->words[1] & 6, 6);
}

static void a_bridge_that_the_firmware_set_up_stays_as_it_is(void **state)
{
    (void)state;
    struct function *bridge = add(3 << 3, 0x1b36, 1);
    bridge->words[PCI_BUSES / 4] = 0x00050500;
    bridge->words[PCI_BRIDGE_MEMORY / 4] = 0xfe80fe80 - 0x20002000; // 0xde80_0000
    struct function *behind = add(0x80 << 8, 0x1af4, 0);
    bar32(behind, 1, 4096);
    behind->words[5] = 0xde800000;
    pci_enumerate(&tree);
    pci_assign(&tree, &q35);
    assert_int_equal(tree.count, 2);
    assert_int_equal(tree.device[1].bus, 5);
    assert_int_equal(behind->words[5], 0xde800000);
    assert_int_equal(bridge->words[PCI_BUSES / 4], 0x00050500);
}

static void bars_keep_clear_of_a_window_that_the_firmware_opened(void **state)
{
    (void)state;
    struct function *bridge = add(3 << 3, 0x1b36, 1);
    bridge->words[PCI_BUSES / 4] = 0x00050500;
    bridge->words[PCI_BRIDGE_MEMORY / 4] = 0xe020e000; // 3 MB from the low window's start
    struct function *behind = add(0x80 << 8, 0x1af4, 0);
    bar32(behind, 1, 4096);
    behind->words[5] = 0xe0100000;
    struct function *beside = add(4 << 3, 0x1af4, 0);
    bar32(beside, 1, 4096);
    pci_enumerate(&tree);
    pci_assign(&tree, &q35);
    assert_int_equal(tree.unassigned, 0);
    assert_int_equal(beside->words[5], 0xe0300000);
}

static void bridges_in_a_circle_do_not_hang_the_walk(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct function *bridge = add((uint16_t)(i << 3), 0x1b36, 1);
        bridge->words[PCI_BUSES / 4] = 0x00ff0100; // all claim bus 1
    }
    struct function *inner = add(0x80 << 8, 0x1b36, 1);
    inner->words[PCI_BUSES / 4] = 0x00010101; // points at its own bus
    pci_enumerate(&tree);
    assert_true(tree.count >= 4);
    assert_true(accesses < 5000);
}

static void a_capability_list_in_a_circle_ends(void **state)
{
    (void)state;
    struct function *f = add(0, 0x1af4, 0);
    f->words[1] = 0x00100000;
    f->words[PCI_CAPABILITIES / 4] = 0x40;
    f->words[0x40 / 4] = 0x00004009; // next: itself
    assert_int_equal(pci_find_capability(&tree.config, 0, 0x11, 0), 0);
    assert_int_equal(pci_find_capability(&tree.config, 0, 0x09, 0), 0x40);
}

static void narrow_accesses_touch_their_bytes_only(void **state)
{
    (void)state;
    struct function *f = add(0, 0x1af4, 0);
    f->words[0x40 / 4] = 0x11223344;
    assert_int_equal(pci_read(&tree.config, 0, 0x41, 1), 0x33);
    assert_int_equal(pci_read(&tree.config, 0, 0x42, 2), 0x1122);
    pci_write(&tree.config, 0, 0x42, 2, 0xaabb);
    assert_int_equal(f->words[0x40 / 4], 0xaabb3344);
    pci_write(&tree.config, 0, 0x41, 1, 0xcc);
    assert_int_equal(f->words[0x40 / 4], 0xaabbcc44);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sizes_of_all_kinds_of_bars_are_found_and_values_put_back, setup),
        cmocka_unit_test_setup(absent_devices_cost_one_read_each, setup),
        cmocka_unit_test_setup(chipset_functions_in_use_are_sized_only_when_somebody_asks, setup),
        cmocka_unit_test_setup(functions_beyond_the_first_only_with_the_multifunction_bit, setup),
        cmocka_unit_test_setup(unassigned_bars_get_distinct_aligned_addresses_in_the_window, setup),
        cmocka_unit_test_setup(large_bars_go_high_when_they_may_and_otherwise_are_reported, setup),
        cmocka_unit_test_setup(a_bridge_left_alone_gets_numbers_and_a_window, setup),
        cmocka_unit_test_setup(a_bridge_that_the_firmware_set_up_stays_as_it_is, setup),
        cmocka_unit_test_setup(bars_keep_clear_of_a_window_that_the_firmware_opened, setup),
        cmocka_unit_test_setup(bridges_in_a_circle_do_not_hang_the_walk, setup),
        cmocka_unit_test_setup(a_capability_list_in_a_circle_ends, setup),
        cmocka_unit_test_setup(narrow_accesses_touch_their_bytes_only, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
