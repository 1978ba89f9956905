// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as a stream of events: the same events come out whether the bytes arrive at once or one
// by one.
//
// Links: hypercall/host/talk/sse.c
#include "hypercall/host/talk/sse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct sum {
    uint64_t value;
    size_t events;
};

static int add(void *context, const char *data, size_t bytes)
{
    struct sum *s = context;
    if (data[bytes] != 0) {
        abort();
    }
    for (size_t i = 0; i < bytes; i++) {
        s->value = s->value * 1099511628211u + (uint8_t)data[i];
    }
    s->events++;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct sse whole = {0}, single = {0};
    struct sum a = {0}, b = {0};
    int rc = sse_push(&whole, (const char *)data, bytes, add, &a), other = 0;
    for (size_t i = 0; i < bytes && !other; i++) {
        other = sse_push(&single, (const char *)data + i, 1, add, &b);
    }
    if (rc != other || (!rc && (a.value != b.value || a.events != b.events))) {
        abort();
    }
    sse_free(&whole);
    sse_free(&single);
    return 0;
}
