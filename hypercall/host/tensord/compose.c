// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the next pass computes. Every sequence of one engine that waits for a next token goes along
// (one weight reading serves them all); prompts get the rest of the pass, in chunks. Fair by
// virtual time: a guest is charged for its work in each pass, divided by its weight, and only the
// guests that have used least may bring prompts while others wait. The weights are read for all;
// attention over long contexts and drawing tokens serve one guest alone: whose own work takes more
// than half of the time sits passes out while others have something to do. Nothing waits for
// company.
#include "hypercall/host/tensord/calls_ops.h"

enum {
    SLACK_NS = 5000000,
    CREDIT_NS = 200000000,
    DECODES_OWN = 16, // of a guest's attention beside others', for next tokens: times the weights
};

// ---- who may compute ---------------------------------------------------------------------------

// A guest with a limit saves up at most CREDIT_NS of computing.
bool compose_has_credit(struct guest *g)
{
    if (g->policy.compute_percent == 0) {
        return true;
    }
    uint64_t now = now_ns();
    if (g->credit_at) {
        g->credit_ns += (int64_t)((now - g->credit_at) / 100 * g->policy.compute_percent);
    }
    g->credit_at = now;
    g->credit_ns = g->credit_ns > CREDIT_NS ? CREDIT_NS : g->credit_ns;
    return g->credit_ns >= 0;
}

static bool is_ready(const struct run *r)
{
    return r->state == RUN_READY && !r->cancelled;
}

static bool has_ready(const struct guest *g, const struct engine *e)
{
    if (g->leaving) {
        return false;
    }
    for (const struct run *r = g->runs; r; r = r->next) {
        if (is_ready(r) && (!e || r->engine == e)) {
            return true;
        }
    }
    return false;
}

static bool decodes(const struct run *r)
{
    return r->count - r->done == 1;
}

void compose_wake(struct guest *g)
{
    // Who was idle saves nothing up.
    if (g->run_count == 0 && (!g->ops || g->ops->job_count == 0) &&
        g->virtual_ns < g->worker->virtual_now) {
        g->virtual_ns = g->worker->virtual_now;
    }
    pthread_cond_signal(&g->worker->work);
}

// The guest that has used least of those without debts, if there are any, and the engine of its
// oldest run.
static struct engine *choose_engine(struct worker *w, bool *debtors)
{
    struct guest *least = NULL;
    for (int round = 0; round < 2 && !least; round++) {
        *debtors = round == 1;
        for (uint32_t i = 0; i < w->guest_count; i++) {
            struct guest *g = w->guests[i];
            if ((*debtors || !g->own_debt_ns) && has_ready(g, NULL) && compose_has_credit(g) &&
                (!least || g->virtual_ns < least->virtual_ns)) {
                least = g;
            }
        }
    }
    for (const struct run *r = least ? least->runs : NULL; r; r = r->next) {
        if (is_ready(r)) {
            // A guest held back by its limit lags behind: that takes nobody else back with it.
            if (w->virtual_now < least->virtual_ns) {
                w->virtual_now = least->virtual_ns;
            }
            return r->engine;
        }
    }
    return NULL;
}

// ---- what it costs, in multiply-adds -----------------------------------------------------------

static uint64_t shared_cost(const struct engine *e, uint32_t tokens)
{
    uint64_t parameters = e->weights->info.parameters;
    return (parameters ? parameters : 1) * tokens;
}

// Attention from `tokens` positions on over what lies before them.
static uint64_t own_cost(const struct engine *e, uint32_t position, uint32_t tokens)
{
    const struct tn_model_info *i = &e->weights->info;
    return 2ull * i->layers * i->heads * i->head_dim * (position + tokens / 2) * tokens;
}

// ---- one pass ----------------------------------------------------------------------------------

static void take(struct engine *e, struct run *r, uint32_t tokens)
{
    uint32_t i = e->count++, vocabulary = e->weights->info.vocabulary, end = r->done + tokens;
    struct tn_step_sequence *q = &e->step[i];
    *q = (struct tn_step_sequence){.tokens = r->tokens + (r->done - r->first),
                                   .token_count = tokens,
                                   .position = r->done,
                                   .kv_pages = r->pages,
                                   .kv_page_count = r->kv_page_count,
                                   .kv = r->kv,
                                   .kv_page_total = r->kv_page_total,
                                   .run = r->serial,
                                   .logits_from = tokens};
    uint32_t wanted = r->prompt - r->logit_rows; // the first position whose logits the guest wants
    r->wants_token = end == r->count && r->made < r->most;
    if (r->logit_rows && end > wanted && r->done < r->prompt) {
        uint32_t from = r->done > wanted ? r->done : wanted;
        q->logits_from = from - r->done;
        q->logits = r->logits_out + (size_t)(from - wanted) * vocabulary;
    } else if (r->wants_token) {
        q->logits_from = tokens - 1;
        q->logits = e->logits + (size_t)i * vocabulary;
    }
    e->runs[i] = r;
    e->rows += tokens;
    r->batch = tokens;
    r->state = RUN_IN_PASS;
    r->guest->in_pass++;
    r->guest->pass_own += own_cost(e, r->done, tokens);
    if (r->submitted_ns) {
        r->guest->statistics.waited_ns += now_ns() - r->submitted_ns;
        r->submitted_ns = 0;
    }
}

struct crowd {
    struct guest *guests[MOST_GUESTS]; // with something ready for the engine
    uint32_t count;
    uint64_t weight; // of all
};

static void gather(struct worker *w, const struct engine *e, bool debtors, struct crowd *c)
{
    c->count = 0;
    c->weight = 0;
    for (uint32_t i = 0; i < w->guest_count; i++) {
        struct guest *g = w->guests[i];
        if ((g->own_debt_ns && !debtors) || !has_ready(g, e) || !compose_has_credit(g)) {
            continue;
        }
        g->pass_own = 0;
        uint32_t at = c->count++; // those that have used least first
        for (; at > 0 && c->guests[at - 1]->virtual_ns > g->virtual_ns; at--) {
            c->guests[at] = c->guests[at - 1];
        }
        c->guests[at] = g;
        c->weight += g->policy.weight;
    }
}

// Among others, nobody makes a pass longer than by `most` readings of the weights: the rest of its
// sequences come next time.
static bool has_brought_enough(const struct crowd *c, const struct engine *e, const struct guest *g,
                               uint32_t most)
{
    return c->count > 1 && g->pass_own > shared_cost(e, most);
}

// Next tokens: each guest's share of the places first, then what is left.
static void take_decodes(const struct crowd *c, struct engine *e, uint32_t most)
{
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < c->count; i++) {
            struct guest *g = c->guests[i];
            uint64_t share = round ? most : most * (uint64_t)g->policy.weight / c->weight;
            share = share ? share : 1;
            for (struct run *r = g->runs; r && share && e->count < most; r = r->next) {
                if (has_brought_enough(c, e, g, DECODES_OWN)) {
                    break;
                }
                if (is_ready(r) && r->engine == e && decodes(r)) {
                    take(e, r, 1);
                    share--;
                }
            }
        }
    }
}

static void take_prompts(const struct crowd *c, struct engine *e, uint32_t sequences)
{
    uint32_t rows = e->rows ? e->rows + PROMPT_BESIDE : PASS_TOKENS, entitled = 0;
    rows = rows < PASS_TOKENS ? rows : PASS_TOKENS;
    uint32_t most = rows - e->rows; // own work may cost as much again as the rows do
    while (entitled < c->count &&
           c->guests[entitled]->virtual_ns <= c->guests[0]->virtual_ns + SLACK_NS) {
        entitled++;
    }
    for (uint32_t i = 0; i < entitled; i++) {
        struct guest *g = c->guests[i];
        uint32_t left = rows - e->rows, others = entitled - i;
        uint32_t share = left >= others ? left / others : left;
        for (struct run *r = g->runs; r && share && e->count < sequences; r = r->next) {
            if (is_ready(r) && r->engine == e && !decodes(r)) {
                uint32_t missing = r->count - r->done, n = missing < share ? missing : share;
                if (has_brought_enough(c, e, g, most)) {
                    break;
                }
                while (c->count > 1 && n > 1 && own_cost(e, r->done, n) > shared_cost(e, most)) {
                    n = (n + 1) / 2;
                }
                take(e, r, n);
                share -= n;
            }
        }
    }
}

uint32_t compose_pass(struct worker *w, struct engine **engine)
{
    struct crowd c;
    bool debtors;
    struct engine *e = choose_engine(w, &debtors);
    *engine = e;
    if (!e) {
        return 0;
    }
    uint32_t most = w->options.no_coalescing ? 1 : PASS_SEQUENCES;
    e->count = e->rows = 0;
    gather(w, e, debtors, &c);
    take_decodes(&c, e, most);
    take_prompts(&c, e, most);
    return e->count;
}

void compose_charge_guest(struct guest *g, uint64_t ns)
{
    g->virtual_ns += ns * 100 / g->policy.weight;
    g->credit_ns -= (int64_t)ns;
    g->statistics.compute_ns += ns;
}

static uint64_t part(uint64_t ns, uint64_t cost, uint64_t total)
{
    return (uint64_t)((double)ns * ((double)cost / (double)total));
}

void compose_charge(struct worker *w, const struct engine *e, uint64_t ns)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < w->guest_count; i++) {
        w->guests[i]->pass_own = 0; // from here on: nanoseconds
        w->guests[i]->counted = false;
    }
    for (uint32_t i = 0; i < e->count; i++) {
        const struct run *r = e->runs[i];
        total += shared_cost(e, r->batch) + own_cost(e, r->done, r->batch);
    }
    for (uint32_t i = 0; i < e->count; i++) {
        struct run *r = e->runs[i];
        struct guest *g = r->guest;
        uint64_t own = own_cost(e, r->done, r->batch);
        uint64_t share = part(ns, shared_cost(e, r->batch) + own, total);
        g->pass_own += part(ns, own, total);
        compose_charge_guest(g, share);
        g->statistics.passes += !g->counted;
        g->statistics.pass_sequences += g->counted ? 0 : e->count;
        g->counted = true;
    }
    for (uint32_t i = 0; i < w->guest_count; i++) {
        struct guest *g = w->guests[i];
        uint64_t others = ns - (g->pass_own < ns ? g->pass_own : ns);
        g->own_debt_ns += g->pass_own;
        g->own_debt_ns -= g->own_debt_ns < others ? g->own_debt_ns : others;
    }
    w->passes++;
    w->pass_sequences += e->count;
}

void compose_charge_draw(struct guest *g, uint64_t ns)
{
    compose_charge_guest(g, ns);
    g->own_debt_ns += ns;
}
