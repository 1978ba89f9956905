// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Scaling, CPUID frequencies, the kvmclock page (emulators have none) and the RTC's date.
// Links: platform/clock/convert.c platform/clock/pvclock.c platform/clock/rtc.c
#include "platform/clock/convert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void a_second_of_cycles_is_a_second(void **state)
{
    (void)state;
    const uint64_t hz[] = {1000000000, 2095078000, 3579545000, 5000000000, 999999999};
    for (size_t i = 0; i < sizeof(hz) / sizeof(hz[0]); i++) {
        struct clock_scale s;
        clock_scale_set(&s, hz[i], 1000, 77);
        uint64_t ns = clock_scale_ns(&s, 1000 + hz[i]);
        assert_in_range(ns, 77 + NS_PER_S - 2, 77 + NS_PER_S);
        uint64_t year = clock_scale_ns(&s, 1000 + hz[i] * 86400 * 365);
        assert_in_range(year, NS_PER_S * 86400 * 365 - 100000000, NS_PER_S * 86400 * 365 + 100);
        uint64_t cycles = clock_scale_cycles(&s, NS_PER_S);
        assert_in_range(cycles, hz[i] - 8, hz[i]);
    }
}

static void time_never_goes_behind_its_base(void **state)
{
    (void)state;
    struct clock_scale s;
    clock_scale_set(&s, 2000000000, 5000, 42);
    assert_int_equal(clock_scale_ns(&s, 4000), 42);
    assert_true(clock_scale_cycles(&s, UINT64_MAX) > UINT64_MAX / 2);
}

static void mul_div_is_exact_and_saturates(void **state)
{
    (void)state;
    assert_true(clock_mul_div(3, 5, 2) == 7);
    assert_true(clock_mul_div(UINT64_MAX, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
    assert_true(clock_mul_div(UINT64_MAX, 1000, 10) == UINT64_MAX);
    assert_true(clock_mul_div(1ull << 63, 6, 1ull << 63) == 6);
    assert_true(clock_mul_div(123456789012345678ull, 1000000007ull, 998244353ull) ==
                123673917618989226ull);
}

static void cpuid_gives_the_frequency_or_nothing(void **state)
{
    (void)state;
    const uint32_t none[4] = {0}, base[4] = {3400, 5000, 100, 0};
    const uint32_t full[4] = {2, 216, 24000000, 0}, no_crystal[4] = {2, 216, 0, 0};
    assert_true(clock_cpuid_hz(none, base) == 0);
    assert_true(clock_cpuid_hz(full, none) == 2592000000);
    assert_true(clock_cpuid_hz(no_crystal, base) == 3400000000);
}

static void a_kvmclock_page_gives_time_and_frequency(void **state)
{
    (void)state;
    // 2.5 GHz: ns = cycles * 0.4. shift -1, so mul = 0.8 * 2^32.
    struct pvclock_page page = {.version = 4,
                                .tsc_timestamp = 1000,
                                .system_time = 500,
                                .tsc_to_system_mul = 3435973837u,
                                .tsc_shift = -1,
                                .flags = PVCLOCK_TSC_STABLE};
    struct pvclock_page out;
    assert_true(pvclock_read(&page, &out));
    assert_int_equal(pvclock_ns(&out, 1000), 500);
    assert_int_equal(pvclock_ns(&out, 1000 + 2500000000ull), 500 + NS_PER_S);
    assert_int_equal(pvclock_ns(&out, 10), 500);
    assert_in_range(pvclock_tsc_hz(&out), 2499999990ull, 2500000010ull);
    page.tsc_shift = 1; // 500 MHz: 2 ns a cycle = mul 1.0
    page.tsc_to_system_mul = 1u << 31;
    assert_true(pvclock_read(&page, &out));
    assert_int_equal(pvclock_ns(&out, 2000), 500 + 1000);
    assert_int_equal(pvclock_tsc_hz(&out), 1000000000);
}

static void a_kvmclock_page_being_written_or_absurd_is_refused(void **state)
{
    (void)state;
    struct pvclock_page out;
    struct pvclock_page page = {.version = 3, .tsc_to_system_mul = 1u << 31};
    assert_false(pvclock_read(&page, &out));
    page.version = 0; // the host never wrote
    assert_false(pvclock_read(&page, &out));
    page.version = 2;
    assert_true(pvclock_read(&page, &out));
    page.tsc_to_system_mul = 0;
    assert_false(pvclock_read(&page, &out));
    assert_int_equal(pvclock_tsc_hz(&page), 0);
    page.tsc_to_system_mul = 1;
    page.tsc_shift = 100;
    assert_false(pvclock_read(&page, &out));
}

static void rtc_dates_agree_with_the_c_library(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 40000; i += 7) {
        time_t t = (time_t)(946684800 + (uint64_t)i * 86400 + i % 86400);
        struct tm tm;
        uint64_t got;
        gmtime_r(&t, &tm);
        if (tm.tm_year >= 200) {
            break;
        }
        struct rtc_fields f = {(uint8_t)tm.tm_sec,
                               (uint8_t)tm.tm_min,
                               (uint8_t)tm.tm_hour,
                               (uint8_t)tm.tm_mday,
                               (uint8_t)(tm.tm_mon + 1),
                               (uint8_t)(tm.tm_year - 100),
                               0x06};
        assert_true(rtc_to_unix(&f, &got));
        assert_int_equal(got, t);
    }
}

static void rtc_understands_bcd_and_twelve_hours(void **state)
{
    (void)state;
    uint64_t got;
    struct rtc_fields bcd = {0x59, 0x34, 0x12, 0x20, 0x11, 0x26, 0x02};
    assert_true(rtc_to_unix(&bcd, &got));
    assert_int_equal(got, 1795178099);                                 // 2026-11-20 12:34:59
    struct rtc_fields pm = {0x59, 0x34, 0x92, 0x20, 0x11, 0x26, 0x00}; // 12 PM is noon
    assert_true(rtc_to_unix(&pm, &got));
    assert_int_equal(got, 1795178099);
    pm.hour = 0x12; // 12 AM is midnight
    assert_true(rtc_to_unix(&pm, &got));
    assert_int_equal(got, 1795178099 - 12 * 3600);
    pm.hour = 0x91; // 11 PM in BCD is 0x11 with bit 7
    assert_true(rtc_to_unix(&pm, &got));
    assert_int_equal(got, 1795178099 + 11 * 3600);
}

static void rtc_nonsense_is_refused(void **state)
{
    (void)state;
    uint64_t got;
    struct rtc_fields f = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    assert_false(rtc_to_unix(&f, &got));
    struct rtc_fields no_day = {0, 0, 0, 0, 1, 0x26, 0x02};
    assert_false(rtc_to_unix(&no_day, &got));
    struct rtc_fields bad_bcd = {0x1a, 0, 0, 1, 1, 0x26, 0x02};
    assert_false(rtc_to_unix(&bad_bcd, &got));
    struct rtc_fields hour_zero = {0, 0, 0, 1, 1, 0x26, 0x00};
    assert_false(rtc_to_unix(&hour_zero, &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_of_cycles_is_a_second),
        cmocka_unit_test(time_never_goes_behind_its_base),
        cmocka_unit_test(mul_div_is_exact_and_saturates),
        cmocka_unit_test(cpuid_gives_the_frequency_or_nothing),
        cmocka_unit_test(a_kvmclock_page_gives_time_and_frequency),
        cmocka_unit_test(a_kvmclock_page_being_written_or_absurd_is_refused),
        cmocka_unit_test(rtc_dates_agree_with_the_c_library),
        cmocka_unit_test(rtc_understands_bcd_and_twelve_hours),
        cmocka_unit_test(rtc_nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
