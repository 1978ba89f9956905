// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Exponential back-off, and flapping: too many ends in too short a time.
#include "hypercall/host/fleet/backoff.h"

#include <string.h>

void backoff_failed(struct backoff *b, uint64_t now_ms)
{
    uint32_t doublings = b->failures < 16 ? b->failures : 16;
    uint64_t pause = (uint64_t)BACKOFF_FIRST_MS << doublings;
    b->failures++;
    b->healthy_ms = 0;
    memmove(b->failed_ms, b->failed_ms + 1, sizeof b->failed_ms - sizeof *b->failed_ms);
    b->failed_ms[BACKOFF_FLAPS] = now_ms;
    uint64_t oldest = b->failed_ms[0];
    b->flapping = b->flapping || (oldest && now_ms - oldest <= BACKOFF_FLAP_MS);
    if (b->flapping || pause > BACKOFF_MOST_MS) {
        pause = BACKOFF_MOST_MS;
    }
    b->next_ms = now_ms + pause;
}

void backoff_seen(struct backoff *b, bool healthy, uint64_t now_ms)
{
    if (!healthy) {
        b->healthy_ms = 0;
    } else if (!b->healthy_ms) {
        b->healthy_ms = now_ms;
    } else if (now_ms - b->healthy_ms >= BACKOFF_HEALTHY_MS) {
        b->failures = 0;
        b->flapping = false;
    }
}

bool backoff_may_start(const struct backoff *b, uint64_t now_ms)
{
    return now_ms >= b->next_ms;
}
