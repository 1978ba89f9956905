// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The platform layer alone: prints what it found, then does what `boottest=` on the command line
// says (null, text, alias, nx, stack, ud, gp, de, panic, irq, ap, nested), and powers off.
// `protect=-wx` and so on switch a protection off; `memory-functions` checks and times memcpy and
// its kin.
#include "platform/acpi.h"
#include "platform/boot.h"
#include "platform/cpu.h"
#include "platform/irq.h"
#include "platform/paging.h"
#include "platform/power.h"
#include "platform/smp.h"
#include "platform/time.h"

#include <stdbool.h>
#include <string.h>

const bool pf_attack_image = true;
static uint32_t arrived;
static volatile uint64_t *probe;
static uint64_t ap_sum;
static volatile bool crash_on_ap;

static _Noreturn void ap_entry(uint32_t index)
{
    __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        if (probe != NULL) {
            __atomic_add_fetch(&ap_sum, *probe, __ATOMIC_RELAXED);
        }
        if (crash_on_ap) {
            pf_panic("asked for on CPU %u", index);
        }
        pf_wait_for_interrupt();
        pf_irq_disable();
    }
}

static bool is(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static volatile bool stop_recursion; // never set; the compiler does not know

static int __attribute__((noinline)) overflow(volatile char *above)
{
    if (stop_recursion) {
        return 0;
    }
    volatile char here[512];
    here[0] = above == NULL ? 0 : above[0];
    return overflow(here) + here[1];
}

static void fault_in_note(void)
{
    volatile int *p = (int *)16;
    __asm__ volatile("" : "+r"(p));
    *p = 1;
}

static void fault_in_interrupt(void *arg)
{
    (void)arg;
    __asm__ volatile("ud2");
}

static uint32_t next_random(void)
{
    static uint32_t x = 12345;
    x = x * 1664525 + 1013904223;
    return x >> 8;
}

// The four memory functions against loops, at every alignment and overlap that chance brings.
static void check_memory_functions(void)
{
    static unsigned char a[1024], b[1024];
    for (unsigned round = 0; round < 3000; round++) {
        size_t limit = round % 2 == 0 ? 40 : 500;
        size_t from = next_random() % 500, to = next_random() % 500, n = next_random() % limit;
        for (size_t i = 0; i < sizeof a; i++) {
            a[i] = b[i] = (unsigned char)next_random();
        }
        for (size_t k = 0; k < n; k++) { // b by loops, a by the functions
            size_t i = to > from ? n - 1 - k : k;
            ((volatile unsigned char *)b)[to + i] = b[from + i];
        }
        if (to + n <= from || from + n <= to) {
            PF_ASSERT(memcpy(a + to, a + from, n) == a + to);
        } else {
            PF_ASSERT(memmove(a + to, a + from, n) == a + to);
        }
        size_t start = next_random() % 500, length = next_random() % limit;
        for (size_t k = 0; k < length; k++) {
            ((volatile unsigned char *)b)[start + k] = (unsigned char)round;
        }
        PF_ASSERT(memset(a + start, (int)(round | 0x5500), length) == a + start);
        for (size_t i = 0; i < sizeof a; i++) {
            PF_ASSERT(a[i] == b[i]);
        }
        PF_ASSERT(memcmp(a, b, sizeof a) == 0);
        size_t at = next_random() % sizeof a;
        b[at] = (unsigned char)(a[at] + 1 + next_random() % 255);
        PF_ASSERT((memcmp(a, b, sizeof a) < 0) == (a[at] < b[at]));
        PF_ASSERT(memcmp(a + from, b + from, at >= from ? at - from : 0) == 0);
    }
    pf_printk("memory functions agree with loops\n");
}

static void time_memory_functions(void)
{
    static unsigned char from[1 << 16], to[1 << 16];
    uint64_t start = pf_now_ns();
    for (unsigned i = 0; i < 64; i++) {
        memcpy(to, from, sizeof to);
    }
    uint64_t copied = pf_now_ns();
    for (unsigned i = 0; i < 64; i++) {
        memset(to, (int)i, sizeof to);
    }
    uint64_t end = pf_now_ns();
    pf_printk("memcpy %lu MB/s, memset %lu MB/s\n", 4194304000 / (copied - start),
              4194304000 / (end - copied));
}

static void attack(const char *what)
{
    static unsigned char code[16] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; // mov eax, 42; ret
    if (is(what, "null")) {
        volatile int *p = NULL;
        __asm__ volatile("" : "+r"(p));
        *p = 1;
    } else if (is(what, "text")) {
        volatile unsigned char *p = (unsigned char *)(uint64_t)pf_main;
        *p = *p;
    } else if (is(what, "alias")) {
        volatile unsigned char *p = pf_phys_to_virt(pf_virt_to_phys((void *)(uint64_t)pf_main));
        *p = *p;
    } else if (is(what, "nx")) {
        int (*f)(void) = (int (*)(void))(uint64_t)code;
        pf_printk("code in data returned %d\n", f());
    } else if (is(what, "stack")) {
        (void)overflow(NULL);
    } else if (is(what, "ud")) {
        __asm__ volatile("ud2");
    } else if (is(what, "gp")) {
        volatile int *p = (int *)0x8000000000000000ull;
        __asm__ volatile("" : "+r"(p));
        *p = 1;
    } else if (is(what, "de")) {
        __asm__ volatile("xor %%ecx, %%ecx; xor %%edx, %%edx; mov $1, %%eax; divl %%ecx" ::
                             : "rax", "rcx", "rdx");
    } else if (is(what, "irq")) {
        pf_ipi_handler(fault_in_interrupt);
        pf_ipi_wake(0);
        for (unsigned i = 0; i < 1000000; i++) {
            pf_pause();
        }
    } else if (is(what, "ap")) {
        crash_on_ap = true;
        pf_ipi_wake(1);
        for (;;) {
            pf_pause();
        }
    } else if (is(what, "nested")) {
        pf_crash_note(fault_in_note);
        __asm__ volatile("ud2");
    } else if (is(what, "panic")) {
        pf_panic("asked for by the command line, %s %d", "number", 7);
    }
}

static void tlb_test(void)
{
    static char page[8192] __attribute__((aligned(4096)));
    page[0] = 1;
    page[4096] = 2;
    uint64_t at = PF_VMAP_BASE + (1ull << 30);
    PF_ASSERT(pf_map(at, pf_virt_to_phys(page), 4096, PF_PROT_READ, PF_CACHE_WB) == 0);
    probe = (uint64_t *)at;
    uint64_t start = pf_now_ns();
    for (unsigned i = 0; i < 100; i++) {
        PF_ASSERT(pf_protect(at, 4096, PF_PROT_READ | PF_PROT_WRITE) == 0);
    }
    pf_printk("100 flushes on all CPUs: %lu us\n", (pf_now_ns() - start) / 1000);
    probe = NULL;
}

_Noreturn void pf_main(void)
{
    const struct pf_boot_info *info = pf_boot_info();
    const struct pf_cpu_features *f = pf_cpu_features();
    char what[32] = "";
    uint64_t total = 0;
    size_t count;

    pf_printk("boottest: source %u, %u ranges, %u modules, image %lx+%lx at %lx\n", info->source,
              info->range_count, info->module_count, info->image_phys, info->image_bytes,
              info->image_virt);
    for (uint32_t i = 0; i < info->range_count; i++) {
        const struct pf_range *r = &info->ranges[i];
        pf_printk("  %012lx-%012lx type %u\n", r->base, r->base + r->length, r->type);
    }
    for (uint32_t i = 0; i < info->module_count; i++) {
        pf_printk("  module %lx+%lx\n", info->modules[i].base, info->modules[i].length);
    }
    struct pf_range left[16];
    count = pf_free_ranges(left, 16);
    for (size_t i = 0; i < count; i++) {
        total += left[i].length;
        pf_printk("  free %lx+%lx\n", left[i].base, left[i].length);
    }
    pf_printk("free %lu KB, cmdline \"%s\"\n", total >> 10, info->cmdline);
    pf_printk("cpu %s, %s, nx %d 1g %d smep %d smap %d umip %d avx2 %d avx512 %d; %u CPUs\n",
              f->brand, f->hypervisor_vendor, f->nx, f->page1g, f->smep, f->smap, f->umip, f->avx2,
              f->avx512, pf_cpu_present());
    const struct pf_boot_stage *stages = pf_boot_stages(&count);
    for (size_t i = 0; i < count; i++) {
        pf_printk("  %s: %lu us\n", stages[i].name,
                  (stages[i].tsc - info->entry_tsc) * 1000000 / pf_tsc_hz());
    }
    if (pf_cmdline_get("memory-functions", what, sizeof what) >= 0) {
        check_memory_functions();
        time_memory_functions();
    }
    (void)pf_cmdline_get("boottest", what, sizeof what);
    uint64_t start = pf_now_ns();
    uint32_t online = pf_smp_start(ap_entry);
    pf_printk("%u of %u CPUs after %lu us\n", online, pf_cpu_present(),
              (pf_now_ns() - start) / 1000);
    tlb_test();
    attack(what);
    pf_printk("boottest: done\n");
    pf_power_off();
}
