// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For the tests of this folder: a block, a clock that moves only when somebody rests, ends that are
// stepped by one thread.
#ifndef HYPERCALL_CHANNEL_TESTING_H
#define HYPERCALL_CHANNEL_TESTING_H

#include "hypercall/channel/internal.h"

#include <stdlib.h>
#include <string.h>

static uint64_t fake_ns, fake_random = 1, fake_step_ns = 10000; // a rest takes so long more
static struct channel *fake_living[HC_CHANNEL_MAX_ENDS];        // beat whenever time passes

static inline uint64_t fake_now(void *ctx)
{
    (void)ctx;
    return fake_ns;
}
static inline uint64_t fake_random64(void *ctx)
{
    (void)ctx;
    fake_random = fake_random * 6364136223846793005ull + 1442695040888963407ull;
    return fake_random ^ fake_random >> 29;
}
static inline void fake_rest(void *ctx, uint64_t ns)
{
    (void)ctx;
    fake_ns += ns + fake_step_ns;
    for (uint32_t i = 0; i < HC_CHANNEL_MAX_ENDS; i++) {
        if (fake_living[i]) {
            channel_beat(fake_living[i]);
        }
    }
}
static const struct channel_port fake_port = {NULL, fake_now, fake_random64, fake_rest, NULL, NULL};
static const struct channel_options fake_options = {.spin = 1};

// Exactly as long as asked for, so that the sanitizer sees a byte too far.
static inline uint8_t *fake_block(const struct channel_format *f, size_t *bytes)
{
    char error[160];
    *bytes = (size_t)channel_bytes_needed(f);
    void *block;
    if (posix_memalign(&block, HC_CHANNEL_PAGE, *bytes) != 0) {
        abort();
    }
    memset(block, 0, *bytes);
    if (channel_create(block, *bytes, f, error, sizeof(error)) != 0) {
        abort();
    }
    return block;
}

#endif
