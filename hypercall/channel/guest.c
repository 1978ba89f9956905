// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Channels in a guest: which region, and the strand that beats.
#include "hypercall/channel/channel_guest.h"

#include "libos/ivshmem.h"
#include "libos/sched.h"
#include "libos/spin.h"
#include "libos/virtio.h"

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SPIN_SHORT 50u // looks before a yield where the peer may be a strand of the same CPU

_Static_assert(IVSHMEM_CHANNEL_MAGIC == HC_CHANNEL_MAGIC, "libos tells channels from weights");

struct channel_guest {
    struct channel *channel;
    struct wake end, ended;
    const void *block;
    uint32_t number;            // of the end
    struct wake came;           // an MEU of this guest has passed something to this end
    uint32_t resting;           // atomic
    struct channel_guest *next; // under lock
};

// Ends over this guest's own memory: their peers are here too and can wake them.
static uint32_t lock;
static struct channel_guest *locals; // under lock

static uint64_t now_ns(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t random64(void *ctx)
{
    uint64_t r;
    (void)ctx;
    random_bytes(&r, sizeof(r));
    return r;
}

static void rest(void *ctx, uint64_t ns)
{
    (void)ctx;
    if (ns == 0) {
        strand_yield();
    } else {
        strand_sleep_ns(ns);
    }
}

// The time still bounds it: a peer that has just looked at `resting` does not wake this one.
static void rest_local(void *ctx, uint64_t ns)
{
    struct channel_guest *g = ctx;
    if (ns == 0) {
        strand_yield();
        return;
    }
    __atomic_store_n(&g->resting, 1, __ATOMIC_SEQ_CST);
    wake_wait(&g->came, now_ns(NULL) + ns);
    __atomic_store_n(&g->resting, 0, __ATOMIC_RELAXED);
}

static void wake_local(void *ctx, uint32_t end)
{
    const struct channel_guest *me = ctx;
    spin_lock(&lock);
    for (struct channel_guest *g = locals; g; g = g->next) {
        if (g->block == me->block && g->number == end &&
            __atomic_exchange_n(&g->resting, 0, __ATOMIC_SEQ_CST)) {
            wake_set(&g->came);
        }
    }
    spin_unlock(&lock);
}

static void enlist(struct channel_guest *g)
{
    spin_lock(&lock);
    g->next = locals;
    locals = g;
    spin_unlock(&lock);
}

static void delist(const struct channel_guest *g)
{
    spin_lock(&lock);
    for (struct channel_guest **at = &locals; *at; at = &(*at)->next) {
        if (*at == g) {
            *at = g->next;
            break;
        }
    }
    spin_unlock(&lock);
}

static void look(void *ctx)
{
    (void)ctx;
    sched_relax();
}

static void beat(void *arg)
{
    struct channel_guest *g = arg;
    strand_doing("beating");
    while (channel_beat(g->channel) == 0 && !wake_wait(&g->end, now_ns(NULL) + CHANNEL_BEAT_NS)) {
    }
    wake_set(&g->ended);
}

static int open_block(void *block, size_t bytes, uint32_t end,
                      const struct channel_options *options, bool local, struct channel_guest **out,
                      char *error, size_t error_bytes)
{
    struct channel_options o = options ? *options : (struct channel_options){0};
    struct channel_guest *g = calloc(1, sizeof(*g));
    if (g == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return -ENOMEM;
    }
    o.spin = o.spin || !local ? o.spin : SPIN_SHORT;
    struct channel_port port = {g, now_ns, random64, rest, look, NULL};
    if (local) {
        port.rest = rest_local;
        port.wake = wake_local;
        g->block = block;
        g->number = end;
    }
    int e = channel_attach(block, bytes, end, &port, &o, &g->channel, error, error_bytes);
    if (e == 0) {
        e = strand_create("channel-beat", beat, g, STRAND_REALTIME, sched_cpu_count() - 1, 0, NULL);
        if (e) {
            snprintf(error, error_bytes, "no memory for the strand that beats");
            channel_close(g->channel);
        }
    }
    if (e) {
        free(g);
        return e;
    }
    if (local) {
        enlist(g);
    }
    *out = g;
    return 0;
}

int channel_guest_open_block(void *block, size_t bytes, uint32_t end,
                             const struct channel_options *options, struct channel_guest **out,
                             char *error, size_t error_bytes)
{
    return open_block(block, bytes, end, options, true, out, error, error_bytes);
}

// QEMU's emulator (TCG) translates locked instructions to plain ones when the machine has one CPU,
// so a compare and swap here is none for a process outside. Only a RING's head needs one.
static bool swaps_are_atomic(void)
{
    uint32_t a, b, c, d;
    __cpuid(0x40000000, a, b, c, d);
    bool emulated = b == 0x54474354 && c == 0x43544743 && d == 0x47435447; // "TCGTCGTCGTCG"
    return !emulated || sched_cpu_expected() > 1;
}

static bool is_ring(const void *block)
{
    return __atomic_load_n(&((const struct hc_channel_header *)block)->kind, __ATOMIC_RELAXED) ==
           HC_CHANNEL_RING;
}

int channel_guest_open(size_t region, uint32_t end, const struct channel_options *options,
                       struct channel_guest **out, char *error, size_t error_bytes)
{
    for (size_t i = 0; i < ivshmem_plain_count(); i++) {
        uint64_t *block = ivshmem_plain_map(i);
        if (block == NULL) {
            snprintf(error, error_bytes, "no memory to map %s", ivshmem_plain_at(i)->location);
            return -ENOMEM;
        }
        uint64_t first = __atomic_load_n(block, __ATOMIC_ACQUIRE);
        if ((first == HC_CHANNEL_MAGIC || first == 0) && region-- == 0) {
            if (first && is_ring(block) && !swaps_are_atomic()) {
                snprintf(error, error_bytes,
                         "a ring channel needs atomic instructions, which QEMU's emulator has only "
                         "for machines with several CPUs: give this one -smp 2");
                return -ENOTSUP;
            }
            return open_block(block, ivshmem_plain_at(i)->bytes, end, options, false, out, error,
                              error_bytes);
        }
    }
    snprintf(
        error, error_bytes,
        "no ivshmem-plain region for it: give the machine -object memory-backend-file,share=on "
        "and -device ivshmem-plain");
    return -ENOENT;
}

struct channel *channel_guest_handle(struct channel_guest *g)
{
    return g->channel;
}

void channel_guest_close(struct channel_guest *g)
{
    if (g == NULL) {
        return;
    }
    wake_set(&g->end);
    wake_wait(&g->ended, 0);
    delist(g);
    channel_close(g->channel);
    free(g);
}
