// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: a worker without threads and processes, and guests whose side the test plays. Each
// step is a call of the worker's own functions.
#ifndef TENSORD_STILL_HOST_H
#define TENSORD_STILL_HOST_H

#include "hypercall/host/tensord/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STILL_REGION = 1 << 20, STILL_GUESTS = 80 };
struct still_guest {
    int memory, rings[2 * HC_VECTOR_COUNT]; // the test's own descriptors
    uint8_t *region;
    struct hc_guest_page *page;
    struct hc_host_page *host;
    struct guest *guest;
    uint32_t head;
};
struct still {
    struct worker w;
    int holder; // the link's other end
    struct still_guest guests[STILL_GUESTS];
    uint32_t count;
};

struct still *still_open(void); // the worker's lock is held from here on
void still_close(struct still *s);
struct still_guest *still_come(struct still *s, const struct guest_policy *policy);
void still_attach(struct still_guest *g); // writes the wish; guest_serve takes it up
void still_submit(struct still_guest *g, uint16_t call, uint64_t a, uint64_t b);
// The status of the next completion that ends a call (positive), -1: there is none.
int still_answer(struct still_guest *g, uint64_t value[2]);

extern const struct guest_policy still_policy; // weight 100, no limits

#endif
