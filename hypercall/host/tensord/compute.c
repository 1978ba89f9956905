// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The compute thread: passes, one after the other. Tokens are drawn and posted here; nothing waits
// for a guest. The lock is not held while it computes.
#include "hypercall/host/tensord/calls_ops.h"

#include <string.h>
#include <time.h>

enum { NO_TOKEN = -1, NOT_FINITE = -2 };

// The draw of one run, out of private memory: what a guest sees of its logits may change under us.
static int32_t draw(struct engine *e, uint32_t i)
{
    const struct run *r = e->runs[i];
    uint32_t vocabulary = e->weights->info.vocabulary;
    float *row = e->logits + (size_t)i * vocabulary;
    const struct tn_step_sequence *q = &e->step[i];
    if (!r->wants_token) {
        return NO_TOKEN;
    }
    if (q->logits != row) {
        const float *last = q->logits + (size_t)(q->token_count - 1 - q->logits_from) * vocabulary;
        memcpy(row, last, vocabulary * sizeof *row);
    }
    tn_apply_rules(row, vocabulary, &r->rules);
    int32_t id =
        tn_sample(row, vocabulary, &r->sampling, &e->runs[i]->rng, r->tokens, r->count - r->first);
    return row[id] - row[id] == 0 ? id : NOT_FINITE;
}

static bool is_stop(const struct run *r, int32_t id)
{
    for (uint32_t i = 0; i < r->stop_count; i++) {
        if (r->stops[i] == id) {
            return true;
        }
    }
    return false;
}

// A run after its pass: on, or at its end.
static void deliver(struct run *r, int error, int32_t id)
{
    struct guest *g = r->guest;
    bool prompt = r->done < r->prompt;
    r->state = RUN_READY;
    g->in_pass--;
    if (error) {
        run_end(r, HC_FAILED, HC_REASON_STOP);
        return;
    }
    r->done += r->batch;
    g->statistics.prompt_tokens += prompt ? r->batch : 0;
    if (r->cancelled) {
        run_end(r, HC_CANCELLED, HC_REASON_STOP);
    } else if (id == NOT_FINITE) {
        run_end(r, HC_FAILED, HC_REASON_STOP);
    } else if (id == NO_TOKEN) {
        if (r->done == r->count) { // only logits, or only K and V, were wanted
            run_end(r, HC_OK, HC_REASON_LENGTH);
        }
    } else if (is_stop(r, id)) {
        run_end(r, HC_OK, HC_REASON_STOP);
    } else {
        r->tokens[r->count++ - r->first] = id;
        r->made++;
        g->statistics.made_tokens++;
        guest_post(g, r->tag, HC_RUN, HC_TOKEN, HC_OK, (uint64_t)id, r->made);
        if (r->made == r->most) {
            run_end(r, HC_OK, HC_REASON_LENGTH);
        }
    }
}

static void run_pass(struct worker *w, struct engine *e)
{
    int32_t ids[PASS_SEQUENCES];
    struct guest *guests[PASS_SEQUENCES];
    bool waited_for = false;
    pthread_mutex_unlock(&w->lock);
    uint64_t begun = now_ns();
    int error = tn_step(e->executor, e->step, e->count);
    for (uint32_t i = 0; i < e->count; i++) {
        ids[i] = error ? NO_TOKEN : draw(e, i);
    }
    uint64_t ns = now_ns() - begun;
    pthread_mutex_lock(&w->lock);
    compose_charge(w, e, ns);
    e->passes++;
    e->pass_sequences += e->count;
    e->pass_rows += e->rows;
    e->ns += ns;
    for (uint32_t i = 0; i < e->count; i++) {
        guests[i] = e->runs[i]->guest; // the run may end
        deliver(e->runs[i], error, ids[i]);
    }
    for (uint32_t i = 0; i < e->count; i++) {
        guest_tell(guests[i]);
        waited_for |= guests[i]->leaving || !guests[i]->attached;
        waited_for |= hc_load(&guests[i]->theirs->generation) != guests[i]->attached;
    }
    if (waited_for) {
        worker_news(w);
    }
}

void *compute_thread(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stopping) {
        struct engine *e;
        struct guest *g = ops_ready(w);
        if (g) {
            ops_work(w, g);
        }
        if (compose_pass(w, &e)) {
            run_pass(w, e);
        } else if (!g) {
            // The time-out is for guests whose limit of computing lets them go on later.
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += 10000000;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            bool limited = false;
            for (uint32_t i = 0; i < w->guest_count; i++) {
                limited |= w->guests[i]->run_count > 0;
            }
            if (limited) {
                pthread_cond_timedwait(&w->work, &w->lock, &until);
            } else {
                pthread_cond_wait(&w->work, &w->lock);
            }
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}
