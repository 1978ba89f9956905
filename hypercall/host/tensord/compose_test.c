// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Who is in the next pass: by weight, within limits, nobody for ever outside. Runs are made up; no
// executor computes.
//
// Links: @tensor tensor/core/pool_host.c @tensord hypercall/host/tensord/still_host.c
// Libs: -lmbedcrypto -lseccomp -lmicrohttpd
#include "hypercall/host/tensord/still_host.h"

enum { ENDLESS = 1 << 30 };

// Without layers, attention costs nothing.
static struct weights weights = {
    .info = {.vocabulary = 8, .parameters = 1 << 20, .heads = 8, .head_dim = 16}};

static struct engine *engine(void)
{
    struct engine *e = calloc(1, sizeof *e);
    assert_non_null(e);
    e->weights = &weights;
    e->logits = calloc(PASS_SEQUENCES, weights.info.vocabulary * sizeof *e->logits);
    return e;
}

static void drop(struct engine *e)
{
    free(e->logits);
    free(e);
}

// A run whose prompt has `missing` tokens to go (1: it waits for a next token).
static struct run *run_of(struct still_guest *g, struct engine *e, uint32_t missing)
{
    struct run *r = calloc(1, sizeof *r), **end = &g->guest->runs;
    assert_non_null(r);
    *r = (struct run){.guest = g->guest,
                      .engine = e,
                      .count = missing,
                      .prompt = missing,
                      .most = 1000,
                      .memory = sizeof *r};
    while (*end) {
        end = &(*end)->next;
    }
    *end = r;
    compose_wake(g->guest);
    g->guest->run_count++;
    g->guest->memory += r->memory;
    return r;
}

// A pass as if it had taken `ns`; rows that each guest had are added to its place in `rows`.
static uint32_t pass(struct still *s, uint64_t ns, uint64_t rows[STILL_GUESTS])
{
    struct engine *e;
    uint32_t n = compose_pass(&s->w, &e);
    if (n == 0) {
        return 0;
    }
    assert_true(n <= PASS_SEQUENCES && e->rows <= PASS_TOKENS);
    compose_charge(&s->w, e, ns);
    for (uint32_t i = 0; i < n; i++) {
        struct run *r = e->runs[i];
        for (uint32_t j = 0; rows && j < s->count; j++) {
            rows[j] += s->guests[j].guest == r->guest ? r->batch : 0;
        }
        r->state = RUN_READY;
        r->guest->in_pass--;
        r->done += r->batch;
        if (r->done == r->count) { // a token was made
            r->count++;
        }
    }
    return n;
}

static void prompts_take_what_a_pass_has_room_for(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct engine *e = engine();
    struct still_guest *a = still_come(s, &still_policy);
    uint64_t rows[STILL_GUESTS] = {0};
    struct run *r = run_of(a, e, 300);
    assert_int_equal(pass(s, 1000, rows), 1);
    assert_int_equal(rows[0], PASS_TOKENS);
    // Beside somebody who waits for a next token, a prompt brings less.
    struct still_guest *b = still_come(s, &still_policy);
    struct run *d = run_of(b, e, 1);
    r->count = r->prompt = 1000;
    assert_int_equal(pass(s, 1000, rows), 2);
    assert_int_equal(rows[0], PASS_TOKENS + PROMPT_BESIDE);
    assert_int_equal(rows[1], 1);
    assert_int_equal(d->done, 1);
    // Without coalescing: one at a time.
    s->w.options.no_coalescing = true;
    assert_int_equal(pass(s, 1000, rows), 1);
    still_close(s);
    drop(e);
}

static void computing_is_shared_by_weight(void **unused)
{
    (void)unused;
    enum { PASSES = 2000 };
    static const uint32_t weight[] = {300, 100, 25};
    struct still *s = still_open();
    struct engine *e = engine();
    uint64_t rows[STILL_GUESTS] = {0};
    for (int i = 0; i < 3; i++) {
        struct guest_policy p = still_policy;
        p.weight = weight[i];
        struct still_guest *g = still_come(s, &p);
        for (int n = 0; n <= 2 * i; n++) { // more runs do not help
            run_of(g, e, ENDLESS);
        }
    }
    for (int i = 0; i < PASSES; i++) {
        assert_true(pass(s, 10000000, rows) > 0);
    }
    for (int i = 1; i < 3; i++) {
        double ratio = (double)rows[0] / (double)rows[i], wanted = (double)weight[0] / weight[i];
        if (ratio < wanted * 0.9 || ratio > wanted * 1.1) {
            fail_msg("guest %d: rows 1 to %f, by weight 1 to %f", i, ratio, wanted);
        }
    }
    still_close(s);
    drop(e);
}

static void everybody_who_waits_for_a_token_comes_soon(void **unused)
{
    (void)unused;
    enum { OTHERS = 70 };
    struct still *s = still_open();
    struct engine *e = engine();
    uint64_t rows[STILL_GUESTS] = {0};
    struct still_guest *busy = still_come(s, &still_policy);
    for (int i = 0; i < HC_MOST_RUNS; i++) {
        run_of(busy, e, 1);
    }
    for (int i = 0; i < OTHERS; i++) {
        run_of(still_come(s, &still_policy), e, 1);
    }
    assert_int_equal(pass(s, 1000000, rows), PASS_SEQUENCES);
    pass(s, 1000000, rows);
    for (uint32_t i = 0; i < s->count; i++) {
        assert_true(rows[i] >= 1);
    }
    // Its own places: the busy one does not crowd out another one.
    struct still *t = still_open();
    struct still_guest *many = still_come(t, &still_policy), *one = still_come(t, &still_policy);
    for (int i = 0; i < HC_MOST_RUNS; i++) {
        run_of(many, e, 1);
    }
    run_of(one, e, 1);
    one->guest->virtual_ns = many->guest->virtual_ns + 1000000000;
    for (int i = 1; i < 10; i++) {
        memset(rows, 0, sizeof rows);
        assert_int_equal(pass(t, 1000000, rows), PASS_SEQUENCES);
        assert_int_equal(rows[1], 1);
    }
    still_close(t);
    still_close(s);
    drop(e);
}

static void engines_take_turns(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct engine *e = engine(), *f = engine();
    uint64_t rows[STILL_GUESTS] = {0};
    run_of(still_come(s, &still_policy), e, ENDLESS);
    run_of(still_come(s, &still_policy), f, ENDLESS);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(pass(s, 10000000, rows), 1);
    }
    assert_in_range(rows[0], 45 * PASS_TOKENS, 55 * PASS_TOKENS);
    assert_in_range(rows[1], 45 * PASS_TOKENS, 55 * PASS_TOKENS);
    still_close(s);
    drop(e);
    drop(f);
}

static void a_limit_of_computing_is_kept(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct engine *e = engine();
    struct guest_policy p = still_policy;
    p.compute_percent = 10;
    struct still_guest *g = still_come(s, &p);
    run_of(g, e, ENDLESS);
    assert_int_equal(pass(s, 50000000, NULL), 1); // it starts with nothing saved up
    assert_int_equal(pass(s, 0, NULL), 0);        // and owes 50 ms: half a second
    g->guest->credit_at -= 300000000;
    assert_int_equal(pass(s, 0, NULL), 0);
    g->guest->credit_at -= 300000000;
    assert_int_equal(pass(s, 0, NULL), 1);
    // What is saved up while it is idle has an end: not a day's worth.
    g->guest->credit_at -= 3600000000000ull;
    assert_int_equal(pass(s, 250000000, NULL), 1);
    assert_int_equal(pass(s, 0, NULL), 0);
    still_close(s);
    drop(e);
}

// A guest held back by its limit lags far behind; who wakes beside it must not get that lag.
static void nobody_saves_up_while_idle(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct engine *e = engine();
    struct guest_policy p = still_policy;
    p.compute_percent = 1;
    struct still_guest *limited = still_come(s, &p), *busy = still_come(s, &still_policy);
    uint64_t rows[STILL_GUESTS] = {0};
    run_of(limited, e, ENDLESS);
    run_of(busy, e, ENDLESS);
    limited->guest->credit_ns = -1;
    limited->guest->credit_at = now_ns() + 1000000000000ull; // far off
    for (int i = 0; i < 100; i++) {
        pass(s, 100000000, NULL);
    }
    limited->guest->credit_ns = 1;
    limited->guest->credit_at = 0;
    pass(s, 1000000, NULL); // the limited one has its turn
    struct still_guest *woken = still_come(s, &still_policy);
    run_of(woken, e, ENDLESS);
    limited->guest->leaving = true;
    for (int i = 0; i < 100; i++) {
        pass(s, 10000000, rows);
    }
    assert_in_range(rows[1], 40 * PASS_TOKENS, 60 * PASS_TOKENS);
    still_close(s);
    drop(e);
}

static void whose_draws_take_long_sits_out(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct engine *e = engine();
    struct still_guest *slow = still_come(s, &still_policy), *quick = still_come(s, &still_policy);
    uint64_t rows[STILL_GUESTS] = {0};
    run_of(slow, e, 1);
    struct run *r = run_of(quick, e, 1);
    compose_charge_draw(slow->guest, 95000000);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(pass(s, 10000000, rows), 1);
    }
    assert_int_equal(rows[0], 0);
    assert_int_equal(pass(s, 10000000, rows), 2); // made up for
    compose_charge_draw(slow->guest, 95000000);
    r->cancelled = true; // the other one has nothing to do: nobody waits for nothing
    assert_int_equal(pass(s, 10000000, rows), 1);
    assert_int_equal(rows[0], 2);
    still_close(s);
    drop(e);
}

// Attention over what lies before is each guest's own: it pays for it, and where it would hold
// others up, it brings fewer rows, and not to every pass.
static void long_contexts_are_paid_for(void **unused)
{
    (void)unused;
    enum { LONG = 1 << 16, RUNS = 10 };
    struct still *s = still_open();
    struct engine *e = engine();
    struct still_guest *deep = still_come(s, &still_policy), *other = still_come(s, &still_policy);
    uint64_t rows[STILL_GUESTS] = {0};
    struct run *runs[RUNS];
    struct weights heavy = weights;
    heavy.info.layers = 4; // a position costs 1/1024 of the weights: attention here 64 of them
    e->weights = &heavy;
    for (int i = 0; i < RUNS; i++) {
        runs[i] = run_of(deep, e, LONG + 1);
        runs[i]->done = LONG;
    }
    run_of(other, e, 1);
    pass(s, 65000000, rows);
    assert_int_equal(rows[0], 1); // one always comes
    assert_int_equal(rows[1], 1);
    assert_in_range(deep->guest->statistics.compute_ns, 60000000, 65000000);
    assert_in_range(other->guest->statistics.compute_ns, 500000, 5000000);
    for (int i = 0; i < 30; i++) { // at one millisecond each without it
        pass(s, 1000000, rows);
    }
    assert_int_equal(rows[0], 1);
    assert_int_equal(rows[1], 31);
    // A prompt of that length: few rows beside who waits for a token; alone, all of a pass.
    for (int i = 0; i < RUNS; i++) {
        runs[i]->cancelled = true;
    }
    deep->guest->own_debt_ns = 0;
    deep->guest->virtual_ns = other->guest->virtual_ns;
    struct run *prompt = run_of(deep, e, LONG + 1000);
    prompt->done = LONG;
    rows[0] = 0;
    pass(s, 1000000, rows);
    assert_in_range(rows[0], 1, 2);
    other->guest->runs->cancelled = true;
    rows[0] = 0;
    pass(s, 1000000, rows);
    assert_int_equal(rows[0], PASS_TOKENS);
    still_close(s);
    drop(e);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(prompts_take_what_a_pass_has_room_for),
        cmocka_unit_test(computing_is_shared_by_weight),
        cmocka_unit_test(everybody_who_waits_for_a_token_comes_soon),
        cmocka_unit_test(engines_take_turns),
        cmocka_unit_test(a_limit_of_computing_is_kept),
        cmocka_unit_test(nobody_saves_up_while_idle),
        cmocka_unit_test(whose_draws_take_long_sits_out),
        cmocka_unit_test(long_contexts_are_paid_for),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
