// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The shared region of the floor of a call: read by the bare guest (guest.c) and by its host peer
// (peer.c). Whoever writes a word has a cache line of its own for it.
#ifndef CALL_FLOOR_REGION_H
#define CALL_FLOOR_REGION_H

#include <stddef.h>
#include <stdint.h>

#define FLOOR_BYTES       (1u << 20)
#define FLOOR_MAGIC       0x524f4f4cu
#define FLOOR_ROUNDS_MOST 100000u

// Vectors (eventfds) of each side. The guest's: an answer, an order. The host's: a question.
enum { FLOOR_VECTORS = 2, FLOOR_ANSWER = 0, FLOOR_ORDER = 1, FLOOR_QUESTION = 0 };
enum { FLOOR_HOST_ID = 0, FLOOR_GUEST_ID = 1 };

// What the guest is to do. Bits: it sleeps (hlt) until the answer's interrupt; the host sleeps, so
// the doorbell must be rung; `pause` between two looks while spinning.
enum { FLOOR_GUEST_SLEEPS = 1, FLOOR_HOST_SLEEPS = 2, FLOOR_PAUSE = 4 };
enum { FLOOR_ROUND_TRIPS = 1, FLOOR_CLOCK = 2, FLOOR_POWER_OFF = 3 };

struct floor_region {
    // Host to guest. `order` is written last and counts up; the guest waits for it asleep.
    uint32_t order, task, wake, rounds;
    uint8_t pad0[48];
    uint32_t answer; // host to guest: the question it answers
    uint8_t pad1[60];
    uint32_t question; // guest to host: 1, 2, … and never 0
    uint8_t pad2[60];
    // Guest to host: FLOOR_MAGIC when it runs; the last order it has carried out.
    uint32_t ready, done;
    uint8_t pad3[56];
    uint64_t tsc; // guest to host: the answer to FLOOR_CLOCK, with a doorbell
    uint8_t pad4[56];
    uint8_t pad5[4096 - 320];
    uint64_t ticks[FLOOR_ROUNDS_MOST]; // of the guest's TSC, one a round trip
};
_Static_assert(offsetof(struct floor_region, answer) == 64, "a line of its own");
_Static_assert(offsetof(struct floor_region, question) == 128, "a line of its own");
_Static_assert(offsetof(struct floor_region, ready) == 192, "a line of its own");
_Static_assert(offsetof(struct floor_region, ticks) == 4096, "after the first page");
_Static_assert(sizeof(struct floor_region) <= FLOOR_BYTES, "fits the region");

#endif
