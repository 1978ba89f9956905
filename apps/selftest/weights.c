// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Attacks on the weights, a file of the host that other guests read too (virtio-pmem, ivshmem).
// Two things protect them: our page table, which stops our own mistakes with a crash report, and
// the host's read-only mapping, which stops a guest that does not want to be stopped.
// `attack-weights…` is for the first, `hostile-weights` for the second, `watch-weights` is the
// neighbour.
#include "apps/selftest/selftest.h"

#include "libos/app.h"
#include "libos/blkdev.h"
#include "libos/sched.h"
#include "libos/virtio.h"
#include "platform/paging.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACE  4096u // bytes attacked at each place
#define PLACES 3u    // the first page, one in the middle, the last

static const struct pmem_region *the_weights(void)
{
    const struct pmem_region *p = pmem_at(0);
    return p && p->bytes >= PLACES * PLACE ? p : NULL;
}

static uint64_t place_at(const struct pmem_region *p, unsigned place)
{
    uint64_t last = p->bytes - PLACE;
    return place == 0 ? 0 : place == 1 ? last / 2 / PLACE * PLACE : last;
}

// Every byte counts, and where it is (FNV-1a, eight bytes at a time).
static uint64_t fingerprint(const struct pmem_region *p)
{
    const volatile uint64_t *word = p->data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint64_t i = 0; i < p->bytes / sizeof *word; i++) {
        hash = (hash ^ word[i]) * 0x100000001b3u;
    }
    return hash;
}

// ---- the ordinary guest ------------------------------------------------------------------------
__attribute__((noinline)) static void scribble_on_weights(volatile uint8_t *at)
{
    *at = (uint8_t)(*at ^ 0xff);
}

static const char *attack_place(unsigned place)
{
    const struct pmem_region *p = the_weights();
    CHECK(p != NULL);
    volatile uint8_t *at = (volatile uint8_t *)(uintptr_t)p->data + place_at(p, place);
    uint8_t before = *at;
    printf("weights: %p, %llu bytes\n", p->data, (unsigned long long)p->bytes);
    scribble_on_weights(at);
    // Only with protect=-weights.
    printf(*at == before ? "written without a fault, and UNCHANGED\n" : "ATTACK SUCCEEDED\n");
    return NULL;
}
static const char *attack_first(void)
{
    return attack_place(0);
}
static const char *attack_middle(void)
{
    return attack_place(1);
}
static const char *attack_last(void)
{
    return attack_place(2);
}

// ---- the hostile guest -------------------------------------------------------------------------
struct attack {
    const struct pmem_region *weights;
    uint8_t original[PLACES][PLACE];
    uint64_t fingerprint;
};

// How a pattern is written: by plain stores, by locked read-modify-writes.
static void write_plain(volatile uint64_t *to, uint64_t pattern)
{
    for (size_t i = 0; i < PLACE / sizeof *to; i++) {
        to[i] = pattern;
    }
}
static void write_locked(volatile uint64_t *to, uint64_t pattern)
{
    for (size_t i = 0; i < PLACE / sizeof *to; i++) {
        __atomic_exchange_n(&to[i], pattern, __ATOMIC_SEQ_CST);
    }
}

static size_t differences(const volatile uint8_t *now, const uint8_t *original)
{
    size_t n = 0;
    for (size_t i = 0; i < PLACE; i++) {
        n += now[i] != original[i];
    }
    return n;
}

// Looks through the mapping that was written through, and through the ordinary one.
static size_t look(const struct attack *a, const volatile uint8_t *mapping)
{
    size_t changed = 0;
    for (unsigned i = 0; i < PLACES; i++) {
        uint64_t at = place_at(a->weights, i);
        changed += differences(mapping + at, a->original[i]);
        changed += differences((const volatile uint8_t *)a->weights->data + at, a->original[i]);
    }
    return changed;
}

static size_t report(const struct attack *a, const char *how, size_t changed)
{
    bool same = fingerprint(a->weights) == a->fingerprint;
    printf("hostile: %s: %zu bytes read back otherwise, the whole is %s\n", how, changed,
           same ? "the same" : "CHANGED");
    return changed + !same;
}

// Stores through a writable mapping.
static size_t try_mapping(const struct attack *a, const char *how, void *mapping)
{
    static const uint64_t patterns[] = {0, UINT64_MAX, 0xa5a5a5a55a5a5a5au};
    static void (*const writers[])(volatile uint64_t *, uint64_t) = {write_plain, write_locked};
    size_t changed = 0;
    for (size_t w = 0; w < sizeof writers / sizeof writers[0]; w++) {
        for (size_t n = 0; n < sizeof patterns / sizeof patterns[0]; n++) {
            for (unsigned i = 0; i < PLACES; i++) {
                uint8_t *to = (uint8_t *)mapping + place_at(a->weights, i);
                writers[w]((volatile uint64_t *)(void *)to, patterns[n]);
            }
            changed += look(a, mapping);
        }
    }
    return report(a, how, changed);
}

// A device writes for us: what it reads from the disk is to land in the weights. The disk's driver
// hands over physical addresses, so no page table of ours is asked.
static size_t try_device(const struct attack *a, struct blkdev *disk)
{
    size_t changed = 0;
    int refused = 0;
    for (unsigned i = 0; i < PLACES; i++) {
        void *to = (uint8_t *)(uintptr_t)a->weights->data + place_at(a->weights, i);
        refused += blkdev_read(disk, 0, to, PLACE) != 0;
    }
    changed += look(a, a->weights->data);
    printf("hostile: the device reported %d errors for %u reads\n", refused, PLACES);
    return report(a, "a device's writes", changed);
}

static const char *hostile_weights(void)
{
    static struct attack a;
    const struct pmem_region *p = a.weights = the_weights();
    CHECK(p != NULL);
    a.fingerprint = fingerprint(p);
    printf("weights: fingerprint %016llx\n", (unsigned long long)a.fingerprint);
    for (unsigned i = 0; i < PLACES; i++) {
        memcpy(a.original[i], (const uint8_t *)p->data + place_at(p, i), PLACE);
    }
    void *cached = pf_map_device(p->phys, p->bytes, PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_WB);
    void *uncached = pf_map_device(p->phys, p->bytes, PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_UC);
    CHECK(cached && uncached);
    size_t changed = try_mapping(&a, "a second, writable mapping", cached);
    changed += try_mapping(&a, "an uncached writable mapping", uncached);
    if (blkdev_count() > 0) { // before the ordinary mapping is changed: only the device writes
        changed += try_device(&a, blkdev_at(0));
    }
    uint64_t from = (uint64_t)p->data;
    CHECK(pf_protect(from, p->bytes, PF_PROT_READ | PF_PROT_WRITE) == 0);
    changed += try_mapping(&a, "the ordinary mapping made writable", (void *)from);
    printf(changed ? "ATTACK SUCCEEDED\n" : "weights: UNCHANGED\n");
    return NULL;
}

// ---- the neighbour -----------------------------------------------------------------------------
static struct {
    uint64_t first, last;
    unsigned looks, changes;
} watched;

static void tell_watched(void *arg)
{
    (void)arg;
    printf("watched %u times: fingerprint %016llx, changed %u times\n", watched.looks,
           (unsigned long long)watched.last, watched.changes);
}

// Looks at all of it again and again until the power button, then says what it saw.
static const char *watch_weights(void)
{
    const struct pmem_region *p = the_weights();
    CHECK(p != NULL);
    watched.first = watched.last = fingerprint(p);
    app_on_shutdown(tell_watched, NULL);
    printf("weights: fingerprint %016llx, watching\n", (unsigned long long)watched.first);
    for (;;) {
        uint64_t now = fingerprint(p);
        watched.looks++;
        if (now != watched.last) {
            watched.changes++;
            watched.last = now;
            printf("weights: fingerprint %016llx, changed\n", (unsigned long long)now);
        }
        strand_sleep_ns(10000000);
    }
}

const struct selftest weights[] = {
    {"attack-weights", attack_first},     {"attack-weights-middle", attack_middle},
    {"attack-weights-last", attack_last}, {"hostile-weights", hostile_weights},
    {"watch-weights", watch_weights},     {NULL, NULL},
};
