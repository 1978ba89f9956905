// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Time: how fast the TSC runs, and nanoseconds from it. The frequency comes, in this order, from
// the hypervisor (leaf 0x40000010, kvmclock), CPUID 0x15, or a short look at a reference counter,
// refined when the machine has run for a few milliseconds.
#include "platform/time.h"

#include "platform/boot.h"
#include "platform/clock/convert.h"
#include "platform/clock/reference.h"
#include "platform/cpu.h"
#include "platform/generation.h"
#include "platform/paging.h"
#include "platform/power.h"
#include "platform/priv/init.h"

#define MSR_KVM_SYSTEM_TIME 0x4b564d01u
#define LEAF_HYPERVISOR     0x40000000u
#define LEAF_KVM_FEATURES   0x40000001u
#define LEAF_FREQUENCIES    0x40000010u // kHz; a convention of VMware, also QEMU's
#define KVM_FEATURE_CLOCK2  (1u << 3)
#define REFINE_AFTER_NS     3000000u

static const char *name = "none";
static uint64_t tsc_hz = 1000000000; // a guess until pf_clock_init; delays stay bounded with it
static uint64_t wall_base_ns;        // wall clock minus pf_now_ns; atomic
static uint32_t wall_generation;     // that it was read in; atomic
static uint64_t entry_pv_ns;         // kvmclock's time at entry
static bool use_pvclock;

// Readers retry while `version` is odd or changes; the only writer is the boot CPU, irqs off.
static struct {
    uint32_t version;
    struct clock_scale scale;
} clock;

static struct clock_reference reference;
static struct clock_sample first_sample;
static uint32_t first_lapic;
static uint64_t first_lapic_tsc;
uint64_t pf_lapic_timer_hz;

static struct pvclock_page pv_page __attribute__((aligned(64)));

static void set_scale(uint64_t hz, uint64_t base_tsc, uint64_t base_ns)
{
    struct clock_scale scale;
    clock_scale_set(&scale, hz, base_tsc, base_ns);
    uint64_t flags = pf_irq_save();
    __atomic_store_n(&clock.version, clock.version + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    *(volatile struct clock_scale *)&clock.scale = scale;
    __atomic_store_n(&clock.version, clock.version + 1, __ATOMIC_RELEASE);
    pf_irq_restore(flags);
}

static struct clock_scale get_scale(void)
{
    struct clock_scale scale;
    uint32_t before, after;
    int tries = 0;
    do {
        before = __atomic_load_n(&clock.version, __ATOMIC_ACQUIRE);
        scale = *(volatile struct clock_scale *)&clock.scale;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        after = __atomic_load_n(&clock.version, __ATOMIC_RELAXED);
        // Bounded for the crash report, which may have interrupted the writer.
    } while ((before != after || (before & 1)) && ++tries < 10000);
    return scale;
}

// Not before what was read earlier: a time stamp must not be older than the wake-up that led to it.
static uint64_t tsc_in_order(void)
{
    __asm__ volatile("lfence" ::: "memory");
    return pf_rdtsc();
}

uint64_t pf_now_ns(void)
{
    if (use_pvclock) {
        struct pvclock_page p;
        if (pvclock_read(&pv_page, &p)) {
            uint64_t now = pvclock_ns(&p, tsc_in_order());
            return now > entry_pv_ns ? now - entry_pv_ns : 0;
        }
    }
    struct clock_scale scale = get_scale();
    return clock_scale_ns(&scale, tsc_in_order());
}

static void read_wall_clock(void);

// A machine that goes on from a saved state has missed what time passed meanwhile. Whoever finds
// that reads the clock anew, others go by the old one for that moment.
static void catch_up(void)
{
    uint32_t mine = __atomic_load_n(&wall_generation, __ATOMIC_RELAXED), found = pf_generation();
    if (mine != found && __atomic_compare_exchange_n(&wall_generation, &mine, found, false,
                                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        read_wall_clock();
    }
}

uint64_t pf_wall_ns(void)
{
    catch_up();
    return __atomic_load_n(&wall_base_ns, __ATOMIC_RELAXED) + pf_now_ns();
}

uint64_t pf_tsc_hz(void)
{
    return tsc_hz;
}

const char *pf_clock_name(void)
{
    return name;
}

uint64_t pf_clock_deadline_tsc(uint64_t deadline_ns)
{
    uint64_t now = pf_now_ns();
    uint64_t tsc = pf_rdtsc();
    if (deadline_ns <= now) {
        return tsc;
    }
    struct clock_scale scale = get_scale();
    uint64_t cycles = clock_scale_cycles(&scale, deadline_ns - now);
    return cycles > INT64_MAX ? tsc + INT64_MAX : tsc + cycles;
}

void pf_delay_us(uint32_t microseconds)
{
    uint64_t start = pf_rdtsc();
    uint64_t cycles = clock_mul_div(microseconds, tsc_hz, 1000000);
    while (pf_rdtsc() - start < cycles) {
        pf_pause();
    }
}

static bool is_kvm(void)
{
    static const char kvm[] = "KVMKVMKVM";
    const char *vendor = pf_cpu_features()->hypervisor_vendor;
    for (unsigned i = 0; i < sizeof(kvm); i++) {
        if (vendor[i] != kvm[i]) {
            return false;
        }
    }
    return true;
}

static bool plausible(uint64_t hz)
{
    return hz >= 100000000u && hz <= 20000000000u;
}

static uint64_t hypervisor_hz(void)
{
    uint32_t regs[4];
    if (!pf_cpu_features()->hypervisor) {
        return 0;
    }
    pf_cpuid(LEAF_HYPERVISOR, 0, regs);
    if (regs[0] < LEAF_FREQUENCIES || regs[0] > LEAF_HYPERVISOR + 0xff) {
        return 0;
    }
    pf_cpuid(LEAF_FREQUENCIES, 0, regs);
    if (regs[1] >= 1000 && regs[1] <= 4000000) {
        pf_lapic_timer_hz = (uint64_t)regs[1] * 1000;
    }
    return (uint64_t)regs[0] * 1000;
}

// Hands the host a page for this CPU's clock. One page serves all CPUs when the host says that the
// TSCs agree (stable bit); otherwise only the frequency is taken from it.
static uint64_t kvmclock_hz(void)
{
    uint32_t regs[4];
    struct pvclock_page p;
    if (!is_kvm()) {
        return 0;
    }
    pf_cpuid(LEAF_KVM_FEATURES, 0, regs);
    uint64_t phys = pf_virt_to_phys(&pv_page);
    if (!(regs[0] & KVM_FEATURE_CLOCK2) || phys == UINT64_MAX) {
        return 0;
    }
    pf_wrmsr(MSR_KVM_SYSTEM_TIME, phys | 1);
    if (!pvclock_read(&pv_page, &p)) {
        return 0;
    }
    if (p.flags & PVCLOCK_TSC_STABLE) {
        use_pvclock = true;
        uint64_t since =
            clock_mul_div(pf_rdtsc() - pf_boot_info()->entry_tsc, NS_PER_S, pvclock_tsc_hz(&p));
        entry_pv_ns = pvclock_ns(&p, pf_rdtsc()) - since;
    }
    return pvclock_tsc_hz(&p);
}

static uint64_t cpuid_hz(void)
{
    uint32_t regs[4], leaf15[4], leaf16[4] = {0};
    pf_cpuid(0, 0, regs);
    if (regs[0] < 0x15) {
        return 0;
    }
    uint32_t max = regs[0];
    pf_cpuid(0x15, 0, leaf15);
    if (max >= 0x16) {
        pf_cpuid(0x16, 0, leaf16);
    }
    return clock_cpuid_hz(leaf15, leaf16);
}

static uint64_t known_hz(void)
{
    uint64_t hz = kvmclock_hz();
    if (plausible(hz)) {
        name = use_pvclock ? "kvmclock" : "tsc (kvmclock)";
        uint64_t exact = hypervisor_hz();
        return plausible(exact) ? exact : hz;
    }
    use_pvclock = false;
    hz = hypervisor_hz();
    if (plausible(hz)) {
        name = "tsc (hypervisor)";
        return hz;
    }
    hz = cpuid_hz();
    if (plausible(hz)) {
        name = "tsc (cpuid)";
        return hz;
    }
    return 0;
}

// Looks at a reference counter for a tenth of a millisecond if it counts nanoseconds, a quarter if
// it is fine, two whole ones if it is coarse.
static uint64_t measured_hz(void)
{
    if (!clock_reference_find(&reference)) {
        return 0;
    }
    uint64_t window = reference.hz / (reference.hz >= 500000000  ? 10000
                                      : reference.hz >= 10000000 ? 4000
                                                                 : 500);
    struct clock_sample a = clock_reference_sample(&reference);
    for (int i = 0; i < 1000000; i++) {
        if (((reference.read() - a.count) & reference.mask) >= window) {
            break;
        }
    }
    uint64_t hz = clock_reference_hz(&reference, a, clock_reference_sample(&reference));
    first_sample = a;
    if (!plausible(hz)) {
        return 0;
    }
    name = reference.name;
    return hz;
}

static void measure_lapic_timer(void)
{
    uint32_t ticks = pf_lapic_timer_elapsed() - first_lapic;
    uint64_t cycles = pf_rdtsc() - first_lapic_tsc;
    if (ticks == 0 || cycles == 0 || ticks > UINT32_MAX / 2) {
        return; // not started, or it ran out: it stops at zero
    }
    uint64_t hz = clock_mul_div(ticks, tsc_hz, cycles);
    // Hypervisors count nanoseconds; the exact number beats a short measurement.
    if (pf_cpu_features()->hypervisor && hz > 980000000 && hz < 1020000000) {
        hz = 1000000000;
    }
    pf_lapic_timer_hz = hz;
}

static uint8_t cmos(uint8_t reg)
{
    pf_out8(0x70, reg | 0x80); // NMI stays masked at the CMOS port while we are at it
    return pf_in8(0x71);
}

static void read_wall_clock(void)
{
    struct rtc_fields f;
    uint64_t seconds = 0;
    bool valid = false;
    for (int tries = 0; tries < 8 && !valid; tries++) {
        // Status A bit 7: the fields are about to change (at most 2.2 ms).
        for (int i = 0; i < 5000 && (cmos(0x0a) & 0x80); i++) {
            pf_pause();
        }
        f.second = cmos(0);
        f.minute = cmos(2);
        f.hour = cmos(4);
        f.day = cmos(7);
        f.month = cmos(8);
        f.year = cmos(9);
        f.status_b = cmos(0x0b);
        if (f.second == 0xff && f.year == 0xff) {
            break; // no such device
        }
        // The second unchanged means no update fell in between.
        valid = cmos(0) == f.second && rtc_to_unix(&f, &seconds);
    }
    pf_out8(0x70, 0x0d);
    if (valid) {
        __atomic_store_n(&wall_base_ns, seconds * NS_PER_S - pf_now_ns(), __ATOMIC_RELAXED);
    } else if (!wall_base_ns) {
        pf_printk("clock: no real-time clock; the wall clock starts at 1970\n");
    }
}

void pf_clock_refine(void)
{
    uint64_t flags = pf_irq_save();
    if (reference.read && reference.hz) {
        struct clock_sample now = clock_reference_sample(&reference);
        struct clock_scale scale = get_scale();
        uint64_t elapsed =
            clock_scale_ns(&scale, now.tsc) - clock_scale_ns(&scale, first_sample.tsc);
        // Longer is better, but not past a wrap of the counter.
        bool wrapped = reference.mask != UINT64_MAX &&
                       elapsed > clock_mul_div(reference.mask, NS_PER_S, reference.hz) / 2;
        uint64_t hz = clock_reference_hz(&reference, first_sample, now);
        if (elapsed >= REFINE_AFTER_NS && !wrapped && hz > tsc_hz - tsc_hz / 50 &&
            hz < tsc_hz + tsc_hz / 50) {
            uint64_t tsc = pf_rdtsc();
            set_scale(hz, tsc, clock_scale_ns(&scale, tsc)); // no jump: goes on from here
            tsc_hz = hz;
        }
    }
    if (!pf_cpu_features()->tsc_deadline && pf_lapic_timer_running_free()) {
        measure_lapic_timer();
    }
    pf_irq_restore(flags);
}

void pf_clock_init(void)
{
    first_lapic = pf_lapic_timer_elapsed();
    first_lapic_tsc = pf_rdtsc();
    uint64_t hz = known_hz();
    if (hz == 0) {
        hz = measured_hz();
    }
    if (hz == 0) {
        pf_printk("clock: nothing to measure the TSC against; assuming 2 GHz, times are a guess\n");
        name = "tsc (guess)";
        hz = 2000000000;
    }
    tsc_hz = hz;
    uint64_t entry = pf_boot_info()->entry_tsc;
    set_scale(hz, entry, 0);
    if (!pf_cpu_features()->tsc_deadline && pf_lapic_timer_hz == 0) {
        while (pf_rdtsc() - first_lapic_tsc < hz / 5000) {
            pf_pause();
        }
        measure_lapic_timer();
    }
    read_wall_clock();
}
