// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The compute thread: passes, one after the other. Tokens are drawn and posted here; nothing waits
// for a guest. The lock is not held while it computes.
#include "hypercall/host/tensord/calls_ops.h"
#include "hypercall/host/tensord/gpu.h"

#include <string.h>
#include <time.h>

// The draw of one run, out of private memory: what a guest sees of its logits may change under us.
static int32_t draw(struct engine *e, uint32_t i)
{
    struct run *r = e->runs[i];
    uint32_t vocabulary = e->weights->info.vocabulary;
    float *row = e->logits + (size_t)i * vocabulary;
    const struct tn_step_sequence *q = &e->step[i];
    if (!r->wants_token) {
        return PASS_NO_TOKEN;
    }
    if (q->logits != row) {
        const float *last = q->logits + (size_t)(q->token_count - 1 - q->logits_from) * vocabulary;
        memcpy(row, last, vocabulary * sizeof *row);
    }
    tn_apply_rules(row, vocabulary, &r->rules);
    int32_t id = tn_sample(row, vocabulary, &r->sampling, &r->rng, r->tokens, r->count - r->first);
    return row[id] - row[id] == 0 ? id : PASS_NOT_FINITE;
}

// All draws, one after the other. Among several guests nobody's draws hold the pass up for longer
// than MOST_DRAW_NS and one more: the rest of that guest's sequences come to nothing this time.
static void draw_all(struct engine *e, struct pass *p)
{
    enum { MOST_DRAW_NS = 10000000 };
    bool several = false;
    for (uint32_t i = 0; i < e->count; i++) {
        several |= e->runs[i]->guest != e->runs[0]->guest;
        e->runs[i]->guest->pass_draw_ns = 0;
    }
    uint64_t at = now_ns();
    for (uint32_t i = 0; i < e->count; i++) {
        struct guest *g = e->runs[i]->guest;
        p->draw_ns[i] = 0;
        if (p->ids[i] == PASS_FAILED) {
            continue;
        }
        if (several && g->pass_draw_ns > MOST_DRAW_NS && e->runs[i]->wants_token) {
            p->ids[i] = PASS_LATER;
            continue;
        }
        p->ids[i] = draw(e, i);
        uint64_t now = now_ns();
        p->draw_ns[i] = now - at;
        g->pass_draw_ns += now - at;
        at = now;
    }
}

void pass_compute(struct engine *e, struct pass *p)
{
    uint64_t begun = now_ns();
    int error = engine_step(e, e->step, e->count);
    for (uint32_t i = 0; i < e->count; i++) {
        // Everything was checked before; should one sequence be refused all the same, then alone.
        bool failed = error && (e->count == 1 || engine_step(e, &e->step[i], 1));
        p->ids[i] = failed ? PASS_FAILED : PASS_NO_TOKEN;
    }
    p->step_ns = now_ns() - begun;
    draw_all(e, p);
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

// The guest's others come first in the next pass, should not all of them fit.
static void run_to_end(struct run *r)
{
    struct run **at = &r->guest->runs;
    if (!r->next) {
        return;
    }
    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    r->next = NULL;
    while (*at) {
        at = &(*at)->next;
    }
    *at = r;
}

// A run after its pass: on, or at its end.
static void deliver(struct run *r, int32_t id)
{
    struct guest *g = r->guest;
    bool prompt = r->done < r->prompt;
    r->state = RUN_READY;
    g->in_pass--;
    if (r->cancelled) {
        run_end(r, HC_CANCELLED, HC_REASON_STOP);
        return;
    }
    if (id == PASS_FAILED || id == PASS_NOT_FINITE) {
        run_end(r, HC_FAILED, HC_REASON_STOP);
        return;
    }
    if (id == PASS_LATER) { // the same rows again
        return;
    }
    r->done += r->batch;
    g->statistics.prompt_tokens += prompt ? r->batch : 0;
    if (id == PASS_NO_TOKEN) {
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
        } else {
            run_to_end(r);
        }
    }
}

void pass_deliver(struct worker *w, struct engine *e, const struct pass *p)
{
    struct guest *guests[PASS_SEQUENCES];
    bool waited_for = false;
    uint64_t ns = p->step_ns;
    for (uint32_t i = 0; i < e->count; i++) {
        guests[i] = e->runs[i]->guest; // the run may end
        compose_charge_draw(guests[i], p->draw_ns[i]);
        ns += p->draw_ns[i];
    }
    compose_charge(w, e, p->step_ns);
    gpu_report(w, e);
    w->pass_ns += ns;
    e->passes++;
    e->pass_sequences += e->count;
    e->pass_rows += e->rows;
    e->ns += ns;
    for (uint32_t i = 0; i < e->count; i++) {
        deliver(e->runs[i], p->ids[i]);
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
            struct pass p;
            pthread_mutex_unlock(&w->lock);
            pass_compute(e, &p);
            pthread_mutex_lock(&w->lock);
            pass_deliver(w, e, &p);
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
