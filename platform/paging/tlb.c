// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// TLB shoot-down: one request at a time, posted under the paging lock, announced by an interrupt,
// answered by a number. CPUs that sleep are left alone and catch up when they wake. Source: Intel
// SDM 3A 4.10.5.
#include "platform/cpu.h"
#include "platform/paging.h"
#include "platform/paging/paging.h"
#include "platform/power.h"
#include "platform/priv/init.h"
#include "platform/smp.h"
#include "platform/time.h"

#include <stdbool.h>

#define ANSWER_WITHIN_NS 5000000000ull // a CPU of a busy host may not run for a while
#define LOOK_AT_MOST_NS  10000000ull   // what one look at the clock may add to that
#define FULL_FLUSH_PAGES 64

// The request. virt and bytes are written before number (release), read after it (acquire).
static struct {
    uint64_t virt, bytes;
    uint64_t number;
} request;
static uint64_t answered[PF_MAX_CPUS]; // owner: that CPU; read by the requester
static bool joined[PF_MAX_CPUS];       // set by that CPU once
static bool others_exist;
// A CPU that sleeps is neither interrupted nor waited for. Written by that CPU, interrupts off:
// set before it halts, cleared by pf_tlb_wake before it runs anything else. Dekker's pattern with
// request.number, all four accesses sequentially consistent: the requester stores the number, then
// reads `asleep`; the waking CPU clears `asleep`, then reads the number. So either the requester
// sees it awake and waits for its answer, or it sees the number and flushes before it goes on.
static uint32_t asleep[PF_MAX_CPUS];

static void flush_here(uint64_t virt, uint64_t bytes)
{
    if (bytes / PF_PAGE > FULL_FLUSH_PAGES) {
        uint64_t root;
        __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(root)::"memory");
        return;
    }
    for (uint64_t at = 0; at < bytes; at += PF_PAGE) {
        __asm__ volatile("invlpg (%0)" ::"r"(virt + at) : "memory");
    }
}

void pf_tlb_poll(void)
{
    if (!__atomic_load_n(&others_exist, __ATOMIC_RELAXED)) {
        return;
    }
    uint32_t me = pf_cpu_index();
    uint64_t number = __atomic_load_n(&request.number, __ATOMIC_ACQUIRE);
    if (answered[me] != number) {
        // Cannot change meanwhile: the requester waits for this CPU's answer.
        flush_here(request.virt, request.bytes);
        __atomic_store_n(&answered[me], number, __ATOMIC_RELEASE);
    }
}

static void on_interrupt(void *arg)
{
    (void)arg;
    pf_tlb_poll();
}

void pf_tlb_init(void)
{
    joined[0] = true;
    pf_irq_fixed(PF_VECTOR_TLB, on_interrupt, NULL);
}

void pf_tlb_join(uint32_t index)
{
    __atomic_store_n(&answered[index], __atomic_load_n(&request.number, __ATOMIC_ACQUIRE),
                     __ATOMIC_RELEASE);
    __atomic_store_n(&joined[index], true, __ATOMIC_SEQ_CST);
    __atomic_store_n(&others_exist, true, __ATOMIC_SEQ_CST);
    // A request posted before `joined` was seen did not wait for us: drop everything once.
    flush_here(0, UINT64_MAX);
    // And one posted just after it, whose interrupt may have come too early for this CPU.
    pf_tlb_poll();
}

void pf_tlb_sleep(void)
{
    __atomic_store_n(&asleep[pf_cpu_index()], 1, __ATOMIC_SEQ_CST);
}

void pf_tlb_wake(void)
{
    uint32_t me = pf_cpu_index();
    if (!__atomic_load_n(&asleep[me], __ATOMIC_RELAXED)) {
        return;
    }
    __atomic_store_n(&asleep[me], 0, __ATOMIC_SEQ_CST);
    uint64_t number = __atomic_load_n(&request.number, __ATOMIC_SEQ_CST);
    if (answered[me] != number) {
        // Of several requests only the last is known, and it may be changing: drop everything.
        flush_here(0, UINT64_MAX);
        __atomic_store_n(&answered[me], number, __ATOMIC_RELEASE);
    }
}

void pf_tlb_flush(uint64_t virt, uint64_t bytes)
{
    flush_here(virt, bytes);
    if (!__atomic_load_n(&others_exist, __ATOMIC_SEQ_CST)) {
        return;
    }
    uint32_t me = pf_cpu_index();
    request.virt = virt;
    request.bytes = bytes;
    uint64_t number = request.number + 1;
    answered[me] = number;
    __atomic_store_n(&request.number, number, __ATOMIC_SEQ_CST);
    uint64_t awake = 0; // a bit a CPU
    for (uint32_t i = 0; i < PF_MAX_CPUS; i++) {
        if (i != me && __atomic_load_n(&joined[i], __ATOMIC_SEQ_CST) &&
            !__atomic_load_n(&asleep[i], __ATOMIC_SEQ_CST)) {
            awake |= 1ull << i;
            pf_lapic_send_ipi(pf_cpu(i)->apic_id, PF_VECTOR_TLB);
        }
    }
    if (awake == 0) {
        return;
    }
    uint64_t last = pf_now_ns(), waited = 0;
    for (uint32_t i = 0; i < PF_MAX_CPUS; i++) {
        if ((awake >> i & 1) == 0) {
            continue;
        }
        // One that falls asleep meanwhile has handled the request before, or will on waking.
        while (__atomic_load_n(&answered[i], __ATOMIC_ACQUIRE) != number &&
               !__atomic_load_n(&asleep[i], __ATOMIC_SEQ_CST)) {
            pf_pause();
            // A machine that was paused finds the clock far ahead before the other CPU has run
            // again.
            uint64_t now = pf_now_ns();
            waited += now - last < LOOK_AT_MOST_NS ? now - last : LOOK_AT_MOST_NS;
            last = now;
            if (waited > ANSWER_WITHIN_NS) {
                pf_panic("CPU %u did not answer a TLB flush within 5 s", i);
            }
        }
    }
}
