// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Round trips of empty tensor calls: while both sides look at the rings, and with this side asleep
// until the host's interrupt.
#include "apps/llm/offload.h"
#include "apps/llm/port.h"

#include <errno.h>
#include <stdlib.h>

enum { CALL_TIMEOUT_MS = 1000, WARM_UP = 20 };
#define SPIN_NS   50000000ull // longer than any answer should take
#define SETTLE_NS 2000000ull
#define LIMIT_NS  20000000000ull // of one kind

// The clock proper takes as long as a call where the CPU is emulated.
static uint64_t ticks(void)
{
    return __builtin_ia32_rdtsc();
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Until the host sleeps, too, for a while at most: then a call takes both doorbells.
static void let_host_sleep(struct hc_client *c)
{
    const struct hc_port *p = &c->port;
    uint64_t until = port_now_ns() + SETTLE_NS;
    for (uint64_t now; !hc_host_sleeps(c) && (now = port_now_ns()) < until;)
        p->wait(p->ctx, now + SETTLE_NS / 10);
}

static int measure(struct hc_client *c, uint64_t *samples, uint32_t count, uint64_t *median,
                   uint64_t *p99)
{
    static const uint64_t none[6];
    struct hc_completion x;
    uint64_t first_ns = port_now_ns(), first_tick = ticks(), limit = first_ns + LIMIT_NS;
    for (uint32_t i = 0; i < WARM_UP + count; i++) {
        if (c->spin_ns == 0)
            let_host_sleep(c);
        uint64_t begun = ticks();
        int rc = hc_call(c, HC_NOTHING, none, CALL_TIMEOUT_MS, &x);
        uint64_t took = ticks() - begun;
        if (rc || x.status) {
            return rc ? rc : -EIO;
        }
        if (i >= WARM_UP) {
            samples[i - WARM_UP] = took;
        }
        if (i % 64 == 0 && port_now_ns() > limit) {
            return -ETIMEDOUT;
        }
    }
    double tick_ns = (double)(port_now_ns() - first_ns) / (double)(ticks() - first_tick);
    qsort(samples, count, sizeof *samples, by_value);
    *median = (uint64_t)((double)samples[count / 2] * tick_ns);
    *p99 = (uint64_t)((double)samples[(uint64_t)count * 99 / 100] * tick_ns);
    return 0;
}

void offload_bench(struct offload *o, struct calls_bench *b)
{
    struct hc_client *c = &o->client;
    if (!o->connected || hc_attach_wait(c, CALL_TIMEOUT_MS)) {
        b->error = -ENOLINK;
        return;
    }
    uint64_t *samples = malloc((b->count + 1ul) * sizeof *samples), usual = c->spin_ns;
    if (!samples) {
        b->error = -ENOMEM;
        return;
    }
    c->spin_ns = SPIN_NS;
    b->error = measure(c, samples, b->count, &b->spin_median_ns, &b->spin_p99_ns);
    c->spin_ns = 0;
    if (!b->error) {
        b->error = measure(c, samples, b->count, &b->sleep_median_ns, &b->sleep_p99_ns);
    }
    c->spin_ns = usual;
    free(samples);
}
