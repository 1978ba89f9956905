// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Runs elsewhere: whatever the runner does, the text is the one that the engine makes by itself,
// and nothing hangs.
//
// Links: @tensor
#include "tensor/infer/fake_runner.h"

enum { REQUESTS = 10, PROMPT_MOST = 120 };

static uint32_t prompt_of(uint32_t n, int32_t *ids)
{
    uint32_t count = 3 + 13 * n % PROMPT_MOST, common = n % 3 ? 40 : 0;
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = (int32_t)(((i < common ? 0 : n * 71) + i * 19 + i / 7 + 3) % 288);
    }
    return count;
}

static struct tn_sampling sampling_of(uint32_t n)
{
    struct tn_sampling s = tn_sampling_default();
    s.seed = n + 1;
    s.temperature = n % 2 ? 0.9f : 0;
    s.repeat_penalty = n % 4 == 1 ? 1.3f : 1;
    s.repeat_last = 30;
    return s;
}

static void submit_all(struct infer_engine *e, struct answer *a)
{
    for (uint32_t n = 0; n < REQUESTS; n++) {
        int32_t ids[PROMPT_MOST + 3];
        uint32_t count = prompt_of(n, ids);
        struct tn_sampling s = sampling_of(n);
        submit(e, ids, count, 5 + 17 * n % 90, &s, &a[n]);
    }
}

static void open_engine(const struct test_model *m, struct fake_runner *f, uint32_t slots,
                        struct infer_engine **e)
{
    struct infer_options o = {
        .slots = slots, .queue = 16, .context = 224, .runner = f ? &f->runner : NULL};
    assert_int_equal(infer_open(m->model, m->executor, &o, e), 0);
}

static struct answer alone[REQUESTS];

// What the engine answers by itself.
static int make_answers(void **unused)
{
    (void)unused;
    struct tiny_options o = tiny_default(TN_Q8_0);
    struct test_model m;
    struct infer_engine *e;
    test_model_open(&m, &o, 64, 4, 24, TN_F32);
    open_engine(&m, NULL, 4, &e);
    submit_all(e, alone);
    run_all(e);
    infer_close(e);
    test_model_close(&m);
    return 0;
}

static void same_answers(const struct answer *a)
{
    for (uint32_t n = 0; n < REQUESTS; n++) {
        assert_same_answer(&a[n], &alone[n]);
    }
}

struct script {
    uint32_t slots, pages;
    uint32_t lose_every, stay_down; // steps; 0: never lost
    int refuse;
    uint32_t most_now;
    bool soon, gone; // when lost: it says -EAGAIN; it never returns
};

static struct infer_stats play(const struct script *script)
{
    static struct answer a[REQUESTS];
    static struct fake_runner f;
    struct tiny_options o = tiny_default(TN_Q8_0);
    struct test_model m;
    struct infer_engine *e;
    struct infer_stats s;
    fake_runner_open(&f, &m, &o, script->pages, script->slots, 24);
    f.refuse = script->refuse;
    f.most_now = script->most_now;
    f.soon = script->soon;
    f.scribble = true;
    open_engine(&m, &f, script->slots, &e);
    submit_all(e, a);
    uint32_t since = 0;
    for (int steps = 0; infer_step(e); steps++) {
        assert_true(steps < 20000);
        since++;
        if (script->lose_every && !f.down && since > script->lose_every) {
            fake_lose(&f);
            since = 0;
        } else if (f.down && since > script->stay_down && !script->gone) {
            fake_return(&f);
            since = 0;
        }
        infer_get_stats(e, &s);
        // One whole context stays outside of runs.
        assert_true(e->remote_pages + e->pages_per_sequence <= script->pages ||
                    e->remote_pages == 0);
    }
    infer_get_stats(e, &s);
    if (script->gone) {
        assert_int_equal(s.kv_pages_used, s.kv_pages_quarantined);
    }
    same_answers(a);
    if (!script->gone) {
        if (f.down) {
            fake_return(&f);
        }
        infer_step(e);
        infer_step(e);
        infer_get_stats(e, &s);
        assert_int_equal(s.kv_pages_used, 0);
        assert_int_equal(s.remote_running, 0);
    }
    if (script->most_now) { // it is asked again now and then, not all the time
        assert_in_range(f.busy, 1, f.started / 2);
    }
    infer_close(e);
    fake_runner_close(&f, &m);
    return s;
}

static void text_with_a_runner_is_the_text_without(void **unused)
{
    (void)unused;
    for (uint32_t slots = 1; slots <= 6; slots += 5) {
        struct infer_stats s = play(&(struct script){.slots = slots, .pages = 64});
        assert_int_equal(s.remote_tokens, s.made_tokens);
        assert_int_equal(s.lost_runs, 0);
        assert_int_equal(s.steps, 0); // nothing was computed here
    }
}

static void few_pages_are_shared_with_runs(void **unused)
{
    (void)unused;
    for (uint32_t pages = 8; pages <= 20; pages += 3) {
        struct infer_stats s = play(&(struct script){.slots = 5, .pages = pages});
        assert_int_equal(s.lost_runs, 0);
        if (pages > 14) { // two contexts
            assert_int_equal(s.remote_tokens, s.made_tokens);
        }
    }
}

static void a_lost_runner_costs_no_token(void **unused)
{
    (void)unused;
    for (uint32_t every = 1; every < 40; every += 7) {
        for (uint32_t down = 0; down < 12; down += 5) {
            for (uint32_t pages = 9; pages <= 40; pages += 31) {
                struct script script = {
                    .slots = 4, .pages = pages, .lose_every = every, .stay_down = down};
                struct infer_stats s = play(&script);
                assert_true(pages < 14 || s.lost_runs > 0);
                script.soon = true;
                play(&script);
            }
        }
    }
}

static void a_runner_that_is_gone_leaves_a_context(void **unused)
{
    (void)unused;
    for (uint32_t pages = 9; pages <= 40; pages += 10) {
        for (uint32_t when = 2; when < 60; when += 13) {
            play(&(struct script){.slots = 6, .pages = pages, .lose_every = when, .gone = true});
        }
    }
}

static void a_runner_that_refuses_is_replaced(void **unused)
{
    (void)unused;
    struct infer_stats s = play(&(struct script){.slots = 4, .pages = 64, .refuse = 5});
    assert_true(s.steps > 0);
    assert_true(s.remote_tokens > 0);
}

static void a_busy_runner_is_waited_for(void **unused)
{
    (void)unused;
    for (uint32_t most = 1; most < 4; most++) {
        struct infer_stats s = play(&(struct script){.slots = 6, .pages = 64, .most_now = most});
        assert_int_equal(s.remote_tokens, s.made_tokens);
        assert_int_equal(s.steps, 0);
    }
}

static int stop_at_5(void *ctx, int32_t id)
{
    return answer_token(ctx, id) || ((struct answer *)ctx)->count == 5;
}

static void stopping_and_cancelling_end_the_run(void **unused)
{
    (void)unused;
    static struct fake_runner f;
    struct tiny_options o = tiny_default(TN_Q8_0);
    struct test_model m;
    struct infer_engine *e;
    struct infer_sequence *s;
    struct answer a = {0}, b = {0};
    struct infer_stats stats;
    int32_t ids[PROMPT_MOST];
    fake_runner_open(&f, &m, &o, 40, 4, 24);
    open_engine(&m, &f, 4, &e);
    struct infer_request r = {.tokens = ids,
                              .token_count = prompt_of(2, ids),
                              .max_tokens = 60,
                              .ignore_end = true,
                              .sampling = sampling_of(2),
                              .on_token = stop_at_5,
                              .on_finish = answer_finish,
                              .ctx = &a};
    assert_int_equal(infer_submit(e, &r, NULL), 0);
    run_all(e);
    assert_int_equal(a.why, INFER_STOP);
    assert_int_equal(a.count, 5);
    r.on_token = answer_token;
    r.ctx = &b;
    assert_int_equal(infer_submit(e, &r, &s), 0);
    while (b.count < 3) {
        infer_step(e);
    }
    assert_true(infer_waits(e));
    infer_cancel(e, s);
    assert_int_equal(b.why, INFER_CANCELLED);
    infer_get_stats(e, &stats);
    assert_int_not_equal(stats.kv_pages_used, 0); // until the run has ended
    infer_step(e);
    infer_step(e);
    infer_step(e);
    infer_get_stats(e, &stats);
    assert_int_equal(stats.kv_pages_used, 0);
    infer_close(e);
    fake_runner_close(&f, &m);
}

// Of prompts of many lengths, the context's among them, longer than one run reads.
static void logits_are_the_same_elsewhere(void **unused)
{
    (void)unused;
    static struct fake_runner f;
    struct tiny_options o = tiny_default(TN_Q8_0);
    struct test_model m;
    struct infer_engine *here, *there;
    int32_t ids[224];
    fake_runner_open(&f, &m, &o, 40, 4, 24);
    for (uint32_t i = 0; i < 224; i++) {
        ids[i] = (int32_t)(i * 37 % 288);
    }
    float *rows[2] = {malloc(f.vocabulary * sizeof(float)), malloc(f.vocabulary * sizeof(float))};
    for (uint32_t count = 1; count <= 224; count += count == 218 ? 6 : 31) {
        open_engine(&m, NULL, 4, &here);
        open_engine(&m, &f, 4, &there);
        for (int w = 0; w < 2; w++) {
            struct answer a = {0};
            memset(rows[w], w, f.vocabulary * sizeof(float));
            struct infer_request r = {.tokens = ids,
                                      .token_count = count,
                                      .logits = rows[w],
                                      .on_token = answer_token,
                                      .on_finish = answer_finish,
                                      .ctx = &a};
            assert_int_equal(infer_submit(w ? there : here, &r, NULL), 0);
            struct infer_stats s = run_all(w ? there : here);
            assert_int_equal(a.finishes, 1);
            assert_int_equal(a.why, INFER_STOP);
            assert_int_equal(a.count, 0);
            assert_int_equal(s.steps == 0, w);
        }
        assert_memory_equal(rows[0], rows[1], f.vocabulary * sizeof(float));
        infer_close(here);
        infer_close(there);
    }
    free(rows[0]);
    free(rows[1]);
    fake_runner_close(&f, &m);
}

static void end_tokens_stop_a_run(void **unused)
{
    (void)unused;
    static struct fake_runner f;
    struct tiny_options o = tiny_default(TN_Q8_0);
    struct test_model m;
    struct answer a[2][12];
    fake_runner_open(&f, &m, &o, 40, 4, 24);
    for (int w = 0; w < 2; w++) {
        struct infer_engine *e;
        open_engine(&m, w ? &f : NULL, 4, &e);
        for (uint32_t n = 0; n < 12; n++) {
            int32_t ids[PROMPT_MOST];
            memset(&a[w][n], 0, sizeof a[w][n]);
            struct infer_request r = {.tokens = ids,
                                      .token_count = prompt_of(n, ids),
                                      .max_tokens = 90,
                                      .sampling = sampling_of(n + 100),
                                      .on_token = answer_token,
                                      .on_finish = answer_finish,
                                      .ctx = &a[w][n]};
            r.sampling.temperature = 30; // all tokens alike: the end comes soon
            r.sampling.min_p = 0;
            r.sampling.top_k = 0;
            r.sampling.top_p = 1;
            assert_int_equal(infer_submit(e, &r, NULL), 0);
        }
        run_all(e);
        infer_close(e);
    }
    int stopped = 0;
    for (uint32_t n = 0; n < 12; n++) {
        assert_same_answer(&a[0][n], &a[1][n]);
        stopped += a[1][n].why == INFER_STOP;
    }
    assert_true(stopped > 0);
    fake_runner_close(&f, &m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_with_a_runner_is_the_text_without),
        cmocka_unit_test(few_pages_are_shared_with_runs),
        cmocka_unit_test(a_lost_runner_costs_no_token),
        cmocka_unit_test(a_runner_that_is_gone_leaves_a_context),
        cmocka_unit_test(a_runner_that_refuses_is_replaced),
        cmocka_unit_test(a_busy_runner_is_waited_for),
        cmocka_unit_test(stopping_and_cancelling_end_the_run),
        cmocka_unit_test(logits_are_the_same_elsewhere),
        cmocka_unit_test(end_tokens_stop_a_run),
    };
    return cmocka_run_group_tests(tests, make_answers, NULL);
}
