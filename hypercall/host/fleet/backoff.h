// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// When a guest that ended is started again: sooner the better it did. Pure; times are monotonic
// milliseconds and never zero.
#ifndef TESSERA_FLEET_BACKOFF_H
#define TESSERA_FLEET_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

enum {
    BACKOFF_FIRST_MS = 1000,
    BACKOFF_MOST_MS = 60000,
    BACKOFF_HEALTHY_MS = 60000, // so long healthy: all is forgiven
    BACKOFF_FLAP_MS = 300000,   // more than BACKOFF_FLAPS ends in so long: it flaps
    BACKOFF_FLAPS = 5
};

struct backoff { // zeroed: nothing has failed yet
    uint64_t failed_ms[BACKOFF_FLAPS + 1];
    uint64_t next_ms, healthy_ms; // may start from next_ms on; healthy since, 0: is not
    uint32_t failures;            // since it was last healthy for long
    bool flapping;
};

// It ended by itself, or could not be started.
void backoff_failed(struct backoff *b, uint64_t now_ms);
// At each look: whether it is healthy now.
void backoff_seen(struct backoff *b, bool healthy, uint64_t now_ms);
bool backoff_may_start(const struct backoff *b, uint64_t now_ms);

#endif
