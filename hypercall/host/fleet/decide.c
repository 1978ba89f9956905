// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Each slot keeps as many of its version as it should have, the best ones first. Guests of a
// version that is nobody's stay until as many others serve.
#include "hypercall/host/fleet/decide.h"

#include <stdlib.h>
#include <string.h>

enum { OUTDATED = 2, CLASSES };

// Best first: what is not on its way out, what serves, what runs, what is busy; then by name, so
// that every look has the same order.
static int compare(const struct decide_member *a, const struct decide_member *b)
{
    if (a->leaving != b->leaving) {
        return a->leaving - b->leaving;
    }
    if (a->healthy != b->healthy) {
        return b->healthy - a->healthy;
    }
    if (a->running != b->running) {
        return b->running - a->running;
    }
    return strcmp(a->name, b->name);
}

static unsigned class_of(const struct decide_wanted *w, const struct decide_member *m)
{
    for (unsigned slot = 0; slot < 2; slot++) {
        if (w->version[slot][0] && strcmp(w->version[slot], m->version) == 0) {
            return slot;
        }
    }
    return OUTDATED;
}

// How many of its class come before it.
static uint32_t place(const struct decide_wanted *w, const struct decide_member *members,
                      size_t count, size_t which)
{
    uint32_t before = 0;
    unsigned class = class_of(w, &members[which]);
    for (size_t i = 0; i < count; i++) {
        before += i != which && class_of(w, &members[i]) == class &&
                  compare(&members[i], &members[which]) < 0;
    }
    return before;
}

static enum decide_verdict verdict(const struct decide_wanted *w, const struct decide_member *m)
{
    if (!m->running) {
        return m->may_start ? DECIDE_START : DECIDE_WAIT;
    }
    return !m->healthy && m->down_ms > w->start_ms ? DECIDE_REPLACE : DECIDE_KEEP;
}

static bool serves(const struct decide_member *m)
{
    return m->running && m->healthy && !m->leaving;
}

void decide(const struct decide_wanted *w, const struct decide_member *members, size_t count,
            struct decide_answer *answers, uint32_t create[2])
{
    unsigned stable = w->stable_slot & 1, other = !stable;
    uint32_t target[CLASSES] = {0}, present[CLASSES] = {0}, ready = 0, stay = 0;
    target[stable] = w->version[stable][0] ? w->targets.stable : 0;
    target[other] = w->version[other][0] ? w->targets.other : 0;
    for (size_t i = 0; i < count; i++) {
        unsigned class = class_of(w, &members[i]);
        present[class]++;
        ready +=
            class != OUTDATED && serves(&members[i]) && place(w, members, count, i) < target[class];
    }
    target[OUTDATED] = w->replicas > ready ? w->replicas - ready : 0;
    for (size_t i = 0; i < count; i++) {
        unsigned class = class_of(w, &members[i]);
        bool goes = place(w, members, count, i) >= target[class] ||
                    (class == OUTDATED && !serves(&members[i]));
        answers[i].slot = class == OUTDATED ? stable : class;
        bool sleeps = w->sleeps && !w->replicas && class == stable && !members[i].running &&
                      place(w, members, count, i) == 0;
        answers[i].verdict = sleeps ? DECIDE_SLEEP : goes ? DECIDE_RETIRE : verdict(w, &members[i]);
        stay += !goes;
    }
    uint32_t most = w->replicas + w->targets.surge, sum = target[0] + target[1];
    most = most > sum ? most : sum;
    for (unsigned n = 0; n < 2; n++) {
        unsigned slot = n ? other : stable; // the version that is relied on comes first
        uint32_t missing = target[slot] > present[slot] ? target[slot] - present[slot] : 0;
        uint32_t room = most > stay ? most - stay : 0;
        create[slot] = missing < room ? missing : room;
        stay += create[slot];
    }
}
