// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: a daemon, an honest guest that decodes all the while in a thread of its own, and a
// hostile one that the test plays.
#ifndef TENSORD_STAGE_HOST_H
#define TENSORD_STAGE_HOST_H

#include "hypercall/host/tensord/raw_host.h"

#include <pthread.h>

enum { PROMPT = 40, MADE = 24, LONG_PROMPT = 400 };
struct stage {
    struct play_daemon d;
    struct play_guest honest;
    struct raw_guest bad;
    pthread_t thread;
    int32_t tokens[PROMPT], wanted[MADE];
    long worker;
    // Of the honest guest's thread; read by the test's.
    uint32_t rounds, wrong, stop;
};

void raise_stage(struct stage *s, const char *policy); // of the hostile guest
// The honest guest has had `rounds` more whole answers since, or a wrong one.
bool went_on(const struct stage *s, uint32_t since, uint32_t rounds);
// Two answers later: all were right, and the worker is the same.
void lower_stage(struct stage *s);
// What was done to the hostile guest hurt nothing of its own either.
void is_served_well(struct stage *s);

#endif
