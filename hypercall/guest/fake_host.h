// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: a region, and a host that a test plays by hand, step by step. Time is the test's: it
// passes only in wait().
#ifndef HYPERCALL_GUEST_FAKE_HOST_H
#define HYPERCALL_GUEST_FAKE_HOST_H

#include "hypercall/abi/ring.h"
#include "hypercall/guest/client.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct fake_host {
    uint8_t *region;
    uint64_t now;
    unsigned kicks[HC_VECTOR_COUNT];
    uint32_t submission_head, completion_tail;
    // Called when the guest sleeps or rings; NULL: the host does nothing.
    void (*act)(struct fake_host *h);
    void *test;
};

static inline struct hc_host_page *fake_page(struct fake_host *h)
{
    return (struct hc_host_page *)(void *)(h->region + HC_HOST_PAGE);
}
static inline struct hc_guest_page *fake_guest(struct fake_host *h)
{
    return (struct hc_guest_page *)(void *)(h->region + HC_GUEST_PAGE);
}

static inline void fake_kick(void *ctx, unsigned vector)
{
    struct fake_host *h = ctx;
    h->kicks[vector]++;
    if (h->act) {
        h->act(h);
    }
}
static inline void fake_wait(void *ctx, uint64_t deadline)
{
    struct fake_host *h = ctx;
    if (h->act) {
        h->act(h);
    }
    if (deadline > h->now) {
        h->now = deadline;
    }
}
static inline uint64_t fake_now(void *ctx)
{
    struct fake_host *h = ctx;
    return h->now += 100;
}

static inline struct hc_port fake_port(struct fake_host *h)
{
    return (struct hc_port){.ctx = h, .kick = fake_kick, .wait = fake_wait, .now_ns = fake_now};
}

// In memory of the caller's.
static inline void fake_begin(struct fake_host *h, void *region, uint64_t bytes)
{
    *h = (struct fake_host){.region = region, .now = 1000000000};
    memset(h->region, 0, bytes);
    struct hc_host_page *p = fake_page(h);
    p->magic = HC_MAGIC;
    p->version = HC_ABI_VERSION;
    p->epoch = 1;
    p->region_bytes = bytes;
    p->features = HC_FEATURE_RUN;
    p->state = HC_HOST_READY;
    p->submission_needs_kick = 1;
}

static inline void fake_open(struct fake_host *h, uint64_t bytes)
{
    void *region = aligned_alloc(4096, bytes);
    if (!region) {
        abort();
    }
    fake_begin(h, region, bytes);
}

// Serves the guest's present generation from the start of the rings.
static inline void fake_attach(struct fake_host *h)
{
    if (fake_page(h)->attached != fake_guest(h)->generation) {
        h->submission_head = h->completion_tail = 0;
        fake_page(h)->submission_head = 0;
        hc_store(&fake_page(h)->completion_tail, 0);
        hc_store(&fake_page(h)->attached, fake_guest(h)->generation);
    }
}

// The next submission, if there is one.
static inline bool fake_take(struct fake_host *h, struct hc_submission *s)
{
    if (hc_load(&fake_guest(h)->submission_tail) == h->submission_head) {
        return false;
    }
    memcpy(s, h->region + HC_SUBMISSIONS + h->submission_head % HC_SUBMISSION_COUNT * sizeof *s,
           sizeof *s);
    hc_store(&fake_page(h)->submission_head, ++h->submission_head);
    return true;
}

static inline void fake_answer(struct fake_host *h, const struct hc_completion *c)
{
    memcpy(h->region + HC_COMPLETIONS + h->completion_tail % HC_COMPLETION_COUNT * sizeof *c, c,
           sizeof *c);
    hc_store(&fake_page(h)->completion_tail, ++h->completion_tail);
}

static inline void fake_end(struct fake_host *h, const struct hc_submission *s, int32_t status)
{
    struct hc_completion c = {.tag = s->tag, .call = s->call, .kind = HC_END, .status = status};
    fake_answer(h, &c);
}

// A host that serves HC_NOTHING.
static inline void fake_good(struct fake_host *h)
{
    struct hc_submission s;
    fake_attach(h);
    while (fake_take(h, &s)) {
        fake_end(h, &s, s.call == HC_NOTHING ? HC_OK : -HC_NOT_SUPPORTED);
    }
}

#endif
