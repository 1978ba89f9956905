// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Local APIC logic in both access modes (emulators without x2APIC cannot show the second), and
// the bit packing of I/O APIC entries.
// Links: platform/apic/lapic.c
#include "platform/apic/lapic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static struct {
    uint32_t reg[64];
    unsigned order[64], writes;
    uint64_t command64;
    unsigned busy_reads; // reads of the command register that still show "pending"
} fake;

static uint32_t fake_read(void *ctx, unsigned reg)
{
    (void)ctx;
    if (reg == LAPIC_ICR && fake.busy_reads) {
        fake.busy_reads--;
        return LAPIC_ICR_PENDING;
    }
    return reg == LAPIC_ICR ? fake.reg[reg] & ~(uint32_t)LAPIC_ICR_PENDING : fake.reg[reg];
}
static void fake_write(void *ctx, unsigned reg, uint32_t value)
{
    (void)ctx;
    fake.reg[reg] = value;
    fake.order[fake.writes++ % 64] = reg;
}
static void fake_write64(void *ctx, unsigned reg, uint64_t value)
{
    (void)ctx;
    assert_int_equal(reg, LAPIC_ICR);
    fake.command64 = value;
}
static const struct lapic x1 = {false, fake_read, fake_write, NULL, NULL};
static const struct lapic x2 = {true, fake_read, fake_write, fake_write64, NULL};

static int setup(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    return 0;
}

static void the_id_is_in_the_top_byte_of_xapic_and_whole_in_x2apic(void **state)
{
    (void)state;
    fake.reg[LAPIC_ID] = 0x07000000;
    assert_int_equal(lapic_id(&x1), 7);
    fake.reg[LAPIC_ID] = 0x107;
    assert_int_equal(lapic_id(&x2), 0x107);
}

static void enabling_masks_local_sources_and_opens_all_priorities(void **state)
{
    (void)state;
    fake.reg[LAPIC_TPR] = 0xff;
    lapic_enable(&x2, 0xff);
    assert_int_equal(fake.reg[LAPIC_SVR], 0x1ff);
    assert_int_equal(fake.order[0], LAPIC_SVR);
    assert_int_equal(fake.reg[LAPIC_LVT_TIMER], LAPIC_MASKED);
    assert_int_equal(fake.reg[LAPIC_LVT_LINT0], LAPIC_MASKED);
    assert_int_equal(fake.reg[LAPIC_LVT_LINT1], LAPIC_ICR_NMI);
    assert_int_equal(fake.reg[LAPIC_TPR], 0);
}

static void xapic_writes_the_destination_before_the_command(void **state)
{
    (void)state;
    fake.busy_reads = 5;
    assert_true(lapic_command(&x1, 3, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT));
    assert_int_equal(fake.reg[LAPIC_ICR_HIGH], 3u << 24);
    assert_int_equal(fake.reg[LAPIC_ICR], 0x4500);
    assert_int_equal(fake.order[0], LAPIC_ICR_HIGH);
    assert_int_equal(fake.order[1], LAPIC_ICR);
}

static void xapic_gives_up_on_a_message_that_stays_pending(void **state)
{
    (void)state;
    fake.busy_reads = UINT32_MAX;
    assert_false(lapic_command(&x1, 3, LAPIC_ICR_FIXED | 0x40));
    assert_int_equal(fake.writes, 0);
}

static void xapic_refuses_ids_beyond_eight_bits(void **state)
{
    (void)state;
    assert_false(lapic_command(&x1, 0x100, LAPIC_ICR_FIXED | 0x40));
    assert_int_equal(fake.writes, 0);
}

static void x2apic_sends_with_one_write(void **state)
{
    (void)state;
    assert_true(lapic_command(&x2, 0x12345, LAPIC_ICR_STARTUP | LAPIC_ICR_ASSERT | 8));
    assert_true(fake.command64 == (0x12345ull << 32 | 0x4608));
    assert_int_equal(fake.writes, 0);
}

static void ioapic_entries_pack_destination_trigger_and_polarity(void **state)
{
    (void)state;
    assert_true(ioapic_entry(0x31, 0, false, false) == 0x31);
    assert_true(ioapic_entry(0x42, 5, true, true) == (5ull << 56 | 0xa042));
}

static void override_flags_mean_what_the_mp_specification_says(void **state)
{
    (void)state;
    bool level, low;
    inti_flags(0, &level, &low); // conforms: ISA is edge, high
    assert_false(level);
    assert_false(low);
    inti_flags(0x000d, &level, &low); // level, active high (QEMU's SCI)
    assert_true(level);
    assert_false(low);
    inti_flags(0x000f, &level, &low);
    assert_true(level);
    assert_true(low);
    inti_flags(0x0005, &level, &low);
    assert_false(level);
    assert_false(low);
}

static void timer_ticks_scale_saturate_and_never_are_zero(void **state)
{
    (void)state;
    assert_int_equal(timer_ticks(1000000, 1000000000), 1000000);
    assert_int_equal(timer_ticks(1000000000, 62500000), 62500000);
    assert_int_equal(timer_ticks(1500000000, 62500000), 93750000);
    assert_int_equal(timer_ticks(0, 1000000000), 1);
    assert_int_equal(timer_ticks(1, 1000000), 1);
    assert_int_equal(timer_ticks(UINT64_MAX, 1000000000), UINT32_MAX);
    assert_int_equal(timer_ticks(5000000000, 1000000000), UINT32_MAX);
    assert_int_equal(timer_ticks(5, 0), UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_id_is_in_the_top_byte_of_xapic_and_whole_in_x2apic, setup),
        cmocka_unit_test_setup(enabling_masks_local_sources_and_opens_all_priorities, setup),
        cmocka_unit_test_setup(xapic_writes_the_destination_before_the_command, setup),
        cmocka_unit_test_setup(xapic_gives_up_on_a_message_that_stays_pending, setup),
        cmocka_unit_test_setup(xapic_refuses_ids_beyond_eight_bits, setup),
        cmocka_unit_test_setup(x2apic_sends_with_one_write, setup),
        cmocka_unit_test_setup(ioapic_entries_pack_destination_trigger_and_polarity, setup),
        cmocka_unit_test_setup(override_flags_mean_what_the_mp_specification_says, setup),
        cmocka_unit_test_setup(timer_ticks_scale_saturate_and_never_are_zero, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
