// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest of nothing but round trips: finds the ivshmem-doorbell device, and then carries out the
// host's orders (region.h). No platform/, no libos: what it measures is the floor of a tensor call.
// Source: QEMU docs/specs/ivshmem-spec; PCI Local Bus 3.0, 6.2.5.1 and 6.8.2; Intel SDM 3A ch. 10.
#include "ci/bench/call_floor/region.h"

#include <stdint.h>

#pragma GCC visibility push(hidden)
extern uint64_t floor_pages_high[512]; // 2 MB pages from DEVICES_START, entry.asm
void floor_irq_answer(void), floor_irq_order(void), floor_irq_spurious(void), floor_exception(void);
void floor_lidt(const void *pointer);
_Noreturn void floor_main(void);
_Noreturn void floor_stop(uint64_t a, uint64_t b);
#pragma GCC visibility pop

#define DEVICES_START  0xc0000000u
#define REGISTERS_AT   0xe0000000u // where BARs go that the firmware has left out
#define MSIX_AT        0xe0001000u
#define MEMORY_AT      0xe0200000u
#define LAPIC          0xfee00000u
#define IVSHMEM        0x11101af4u // device and vendor
#define PTE_UNCACHED   0x18u
#define VECTOR_ANSWER  0x40u
#define VECTOR_ORDER   0x41u
#define VECTOR_UNKNOWN 0xffu

static struct floor_region *region;
static volatile uint32_t *doorbell;

static void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static void out16(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
static void out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}
static uint32_t in32(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

// rdtscp waits for what comes before it, the fence keeps what comes after it from going first.
static uint64_t ticks(void)
{
    uint32_t low, high, cpu;
    __asm__ volatile("rdtscp; lfence" : "=a"(low), "=d"(high), "=c"(cpu)::"memory");
    return (uint64_t)high << 32 | low;
}

static void say(const char *text)
{
    for (; *text; text++) {
        out8(0x3f8, (uint8_t)*text);
    }
}
static void say_hex(uint64_t v)
{
    for (int shift = 60; shift >= 0; shift -= 4) {
        out8(0x3f8, (uint8_t)("0123456789abcdef"[v >> shift & 15]));
    }
}

static _Noreturn void end(const char *why)
{
    say("call floor: ");
    say(why);
    say("\n");
    out16(0x604, 0x2000); // ACPI power off of q35
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

_Noreturn void floor_stop(uint64_t a, uint64_t b)
{
    say("call floor: exception; the stack begins with ");
    say_hex(a);
    say(" ");
    say_hex(b);
    end("");
}

// ---- the device --------------------------------------------------------------------------------
static uint32_t config(uint32_t device, uint32_t offset)
{
    out32(0xcf8, device | (offset & 0xfcu));
    return in32(0xcfc);
}
static void set_config(uint32_t device, uint32_t offset, uint32_t v)
{
    out32(0xcf8, device | (offset & 0xfcu));
    out32(0xcfc, v);
}

static uint32_t find_device(void)
{
    for (uint32_t slot = 0; slot < 256; slot++) { // bus 0, every function
        if (config(0x80000000u | slot << 8, 0) == IVSHMEM) {
            return 0x80000000u | slot << 8;
        }
    }
    end("there is no ivshmem device on bus 0");
}

// The base of a memory BAR, after giving it one where it has none.
static uint32_t base_of(uint32_t device, uint32_t bar, uint32_t otherwise)
{
    uint32_t offset = 0x10 + 4 * bar, v = config(device, offset);
    if ((v & ~15u) == 0) {
        set_config(device, offset, otherwise);
        v = config(device, offset);
    }
    if ((v & 6) == 4 && config(device, offset + 4) != 0) {
        end("a BAR above 4 GB");
    }
    if ((v & ~15u) < DEVICES_START) {
        end("a BAR outside the mapped window");
    }
    return v & ~15u;
}

static uint32_t msix_of(uint32_t device)
{
    uint32_t at = config(device, 0x34) & 0xfc;
    for (int i = 0; at && i < 48; i++) {
        uint32_t v = config(device, at);
        if ((v & 0xff) == 0x11) {
            return at;
        }
        at = v >> 8 & 0xfc;
    }
    end("the ivshmem device has no MSI-X: this wants ivshmem-doorbell");
}

static void map_write_back(uint32_t base)
{
    for (uint32_t at = base & ~0x1fffffu; at < base + FLOOR_BYTES; at += 0x200000u) {
        floor_pages_high[(at - DEVICES_START) >> 21] &= ~(uint64_t)PTE_UNCACHED;
        __asm__ volatile("invlpg (%0)" ::"r"((uint64_t)at) : "memory");
    }
}

static volatile uint32_t *lapic(uint32_t offset)
{
    return (volatile uint32_t *)(uintptr_t)(LAPIC + offset);
}

static void set_vector(uint32_t table, uint32_t entry, uint32_t vector)
{
    volatile uint32_t *e = (volatile uint32_t *)(uintptr_t)(table + 16 * entry);
    e[0] = LAPIC | (*lapic(0x20) >> 24) << 12;
    e[1] = 0;
    e[2] = vector;
    e[3] = 0;
}

static void device_init(void)
{
    uint32_t d = find_device();
    uint32_t registers = base_of(d, 0, REGISTERS_AT), table = base_of(d, 1, MSIX_AT);
    uint32_t memory = base_of(d, 2, MEMORY_AT), msix = msix_of(d);
    set_config(d, 4, (config(d, 4) & 0xffff) | 6); // memory, bus master
    map_write_back(memory);
    region = (struct floor_region *)(uintptr_t)memory;
    doorbell = (volatile uint32_t *)(uintptr_t)(registers + 12);
    set_vector(table, FLOOR_ANSWER, VECTOR_ANSWER);
    set_vector(table, FLOOR_ORDER, VECTOR_ORDER);
    set_config(d, msix, (config(d, msix) & 0x3fffffffu) | 1u << 31); // enabled, not masked
}

// ---- interrupts --------------------------------------------------------------------------------
static struct {
    uint16_t low, selector, flags, middle;
    uint32_t high, zero;
} idt[256];

static void set_gate(uint32_t vector, void (*handler)(void))
{
    uint64_t at = (uint64_t)(uintptr_t)handler;
    idt[vector].low = (uint16_t)at;
    idt[vector].selector = 8;
    idt[vector].flags = 0x8e00;
    idt[vector].middle = (uint16_t)(at >> 16);
    idt[vector].high = (uint32_t)(at >> 32);
}

static void interrupts_init(void)
{
    static struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer;
    for (uint32_t i = 0; i < 32; i++) {
        set_gate(i, floor_exception);
    }
    set_gate(VECTOR_ANSWER, floor_irq_answer);
    set_gate(VECTOR_ORDER, floor_irq_order);
    set_gate(VECTOR_UNKNOWN, floor_irq_spurious);
    pointer.limit = sizeof idt - 1;
    pointer.base = (uint64_t)(uintptr_t)idt;
    floor_lidt(&pointer);
    out8(0x21, 0xff); // the old interrupt controllers stay quiet
    out8(0xa1, 0xff);
    *lapic(0xf0) = 0x100 | VECTOR_UNKNOWN;
    *lapic(0x350) = 0x10000; // LINT0
    *lapic(0x80) = 0;
}

// ---- round trips -------------------------------------------------------------------------------
static uint32_t look(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

// Interrupts are off but in the halt itself, so none can come between the look and the halt.
static void sleep_until(const uint32_t *word, uint32_t wanted)
{
    while (look(word) != wanted) {
        __asm__ volatile("sti; hlt; cli" ::: "memory");
    }
}

static void spin_until(const uint32_t *word, uint32_t wanted)
{
    while (look(word) != wanted) {
    }
}

static void pause_until(const uint32_t *word, uint32_t wanted)
{
    while (look(word) != wanted) {
        __asm__ volatile("pause");
    }
}

static void round_trips(uint32_t wake, uint32_t rounds)
{
    static uint32_t question; // never the same twice, so that no old answer fits
    for (uint32_t i = 0; i < rounds; i++) {
        question += question == UINT32_MAX ? 2 : 1;
        uint64_t begun = ticks();
        __atomic_store_n(&region->question, question, __ATOMIC_RELEASE);
        if (wake & FLOOR_HOST_SLEEPS) {
            *doorbell = FLOOR_HOST_ID << 16 | FLOOR_QUESTION;
        }
        if (wake & FLOOR_GUEST_SLEEPS) {
            sleep_until(&region->answer, question);
        } else if (wake & FLOOR_PAUSE) {
            pause_until(&region->answer, question);
        } else {
            spin_until(&region->answer, question);
        }
        region->ticks[i] = ticks() - begun;
    }
}

_Noreturn void floor_main(void)
{
    interrupts_init();
    device_init();
    say("call floor: ready\n");
    __atomic_store_n(&region->ready, FLOOR_MAGIC, __ATOMIC_RELEASE);
    for (uint32_t order = 1;; order++) {
        sleep_until(&region->order, order);
        uint32_t rounds = region->rounds;
        switch (region->task) {
        case FLOOR_ROUND_TRIPS:
            round_trips(region->wake, rounds < FLOOR_ROUNDS_MOST ? rounds : FLOOR_ROUNDS_MOST);
            break;
        case FLOOR_CLOCK:
            __atomic_store_n(&region->tsc, ticks(), __ATOMIC_RELEASE);
            *doorbell = FLOOR_HOST_ID << 16 | FLOOR_QUESTION;
            break;
        default:
            end("done");
        }
        __atomic_store_n(&region->done, order, __ATOMIC_RELEASE);
    }
}
