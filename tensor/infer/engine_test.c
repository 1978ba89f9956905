// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The engine: the same answer alone and among others, fairness, waiting, giving way, cancelling.
//
// Links: @tensor
#include "tensor/infer.h"
#include "tensor/model/tiny_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 512 };

struct fixture {
    void *file;
    struct tn_model *model;
    struct tn_executor *x;
    struct infer_engine *engine;
};

struct answer {
    int32_t ids[MOST];
    uint32_t count, prompt, made;
    int finishes;
    enum infer_finish why;
    uint32_t stop_after; // 0: never
    uint32_t last_step;  // when the last token came
    struct fixture *f;
    struct infer_sequence *cancel; // when the first token comes
};

static uint32_t step_number;

static int on_token(void *ctx, int32_t id)
{
    struct answer *a = ctx;
    assert_true(a->count < MOST);
    a->ids[a->count++] = id;
    a->last_step = step_number;
    if (a->cancel) {
        struct infer_sequence *s = a->cancel;
        a->cancel = NULL;
        infer_cancel(a->f->engine, s);
    }
    return a->stop_after && a->count >= a->stop_after;
}

static void on_finish(void *ctx, enum infer_finish why, uint32_t prompt, uint32_t made)
{
    struct answer *a = ctx;
    a->finishes++;
    a->why = why;
    a->prompt = prompt;
    a->made = made;
}

static bool damaged; // the model that the next open_engine makes

static void open_engine(struct fixture *f, uint32_t slots, uint32_t queue, uint32_t pages,
                        uint32_t max_tokens, uint32_t chunk)
{
    char error[256] = "";
    size_t bytes;
    struct tiny_options o = tiny_default(TN_Q8_0);
    f->file = tiny_gguf(&o, &bytes);
    if (tn_model_open(f->file, bytes, &f->model, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
    if (damaged) { // scales of all ones are NaN
        const struct gguf_tensor *t = gguf_find(tn_model_gguf(f->model), "token_embd.weight");
        memset((void *)(uintptr_t)t->data, 0xff, t->bytes);
    }
    struct tn_executor_options x = {.isa = tn_isa_best(),
                                    .pool = &tn_pool_single,
                                    .max_tokens = max_tokens,
                                    .max_sequences = slots,
                                    .kv_page_total = pages,
                                    .kv_type = TN_F32};
    if (tn_executor_open(f->model, &x, &f->x, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
    struct infer_options i = {.slots = slots, .queue = queue, .prefill_chunk = chunk};
    assert_int_equal(infer_open(f->model, f->x, &i, &f->engine), 0);
    step_number = 0;
}

static void close_engine(struct fixture *f)
{
    infer_close(f->engine);
    tn_executor_close(f->x);
    tn_model_close(f->model);
    free(f->file);
}

static struct infer_request request(const int32_t *ids, size_t count, uint32_t most,
                                    struct answer *a)
{
    memset(a, 0, sizeof *a);
    struct infer_request r = {.tokens = ids,
                              .token_count = count,
                              .max_tokens = most,
                              .ignore_end = true,
                              .sampling = tn_sampling_default(),
                              .on_token = on_token,
                              .on_finish = on_finish,
                              .ctx = a};
    r.sampling.seed = (uint64_t)ids[0];
    return r;
}

static void run_all(struct fixture *f)
{
    while (infer_step(f->engine)) {
        assert_true(++step_number < 20000);
    }
    struct infer_stats s;
    infer_get_stats(f->engine, &s);
    assert_int_equal(s.kv_pages_used, 0); // everything came back
    assert_int_equal(s.running + s.waiting, 0);
}

static void make_prompt(int32_t *ids, uint32_t count, uint32_t n)
{
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = (int32_t)((n * 53 + i * 17 + 5) % 288);
    }
}

static void answers_are_the_same_alone_and_among_others(void **unused)
{
    (void)unused;
    enum { SEQUENCES = 10 };
    static struct answer alone[SEQUENCES], among[SEQUENCES];
    int32_t ids[SEQUENCES][60];
    // Among others: 4 slots, few pages (so that some give way), small steps.
    for (int way = 0; way < 2; way++) {
        struct fixture f;
        open_engine(&f, way ? 4 : 1, 16, way ? 11 : 8, way ? 24 : 128, way ? 7 : 128);
        for (uint32_t i = 0; i < SEQUENCES; i++) {
            uint32_t length = 3 + i * 6 % 57;
            struct answer *a = way ? &among[i] : &alone[i];
            make_prompt(ids[i], length, i);
            struct infer_request r = request(ids[i], length, 40 + i * 11, a);
            assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
            if (!way) {
                run_all(&f);
            }
        }
        run_all(&f);
        close_engine(&f);
    }
    for (int i = 0; i < SEQUENCES; i++) {
        assert_int_equal(among[i].finishes, 1);
        assert_int_equal(among[i].why, INFER_LENGTH);
        assert_int_equal(among[i].count, 40 + i * 11);
        assert_int_equal(among[i].made, among[i].count);
        assert_int_equal(among[i].count, alone[i].count);
        assert_memory_equal(among[i].ids, alone[i].ids, among[i].count * sizeof(int32_t));
    }
}

static void sequences_advance_together(void **unused)
{
    (void)unused;
    struct fixture f;
    static struct answer a[4];
    int32_t ids[4][8];
    open_engine(&f, 4, 8, 40, 32, 8);
    for (uint32_t i = 0; i < 4; i++) {
        make_prompt(ids[i], 8, i);
        struct infer_request r = request(ids[i], 8, 50, &a[i]);
        assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
    }
    for (int i = 0; i < 30; i++) {
        infer_step(f.engine);
        for (int j = 1; j < 4; j++) {
            int ahead = (int)a[0].count - (int)a[j].count;
            assert_in_range(ahead + 2, 0, 4);
        }
    }
    run_all(&f);
    close_engine(&f);
}

static void a_long_prompt_does_not_stop_the_others(void **unused)
{
    (void)unused;
    struct fixture f;
    static struct answer quick, slow;
    int32_t a[4], b[200];
    open_engine(&f, 4, 8, 40, 32, 8);
    make_prompt(a, 4, 1);
    make_prompt(b, 200, 2);
    struct infer_request r = request(a, 4, 100, &quick);
    assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
    infer_step(f.engine);
    r = request(b, 200, 5, &slow);
    assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
    uint32_t before = quick.count, steps = 0;
    while (slow.count == 0) {
        infer_step(f.engine);
        steps++;
    }
    assert_int_equal(steps, 25);                   // 200 tokens, 8 at a time
    assert_int_equal(quick.count - before, steps); // one token in each of them
    run_all(&f);
    close_engine(&f);
}

static void requests_beyond_the_limits_are_refused(void **unused)
{
    (void)unused;
    struct fixture f;
    static struct answer a[8];
    int32_t ids[300];
    open_engine(&f, 2, 3, 16, 32, 8);
    make_prompt(ids, 300, 1);
    struct infer_request r = request(ids, 0, 5, &a[0]);
    assert_int_equal(infer_submit(f.engine, &r, NULL), -EINVAL);
    r = request(ids, 256, 5, &a[0]);
    assert_int_equal(infer_submit(f.engine, &r, NULL), -E2BIG);
    ids[1] = 288;
    r = request(ids, 3, 5, &a[0]);
    assert_int_equal(infer_submit(f.engine, &r, NULL), -EINVAL);
    ids[1] = -1;
    assert_int_equal(infer_submit(f.engine, &r, NULL), -EINVAL);
    ids[1] = 1;
    for (int i = 0; i < 5; i++) { // 2 slots and 3 places to wait
        r = request(ids, 3, 5, &a[i]);
        assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
    }
    r = request(ids, 3, 5, &a[5]);
    assert_int_equal(infer_submit(f.engine, &r, NULL), -EAGAIN);
    run_all(&f);
    assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
    run_all(&f);
    assert_int_equal(a[5].finishes, 1);
    close_engine(&f);
}

static void a_full_context_ends_as_length(void **unused)
{
    (void)unused;
    struct fixture f;
    static struct answer a;
    int32_t ids[250];
    open_engine(&f, 1, 1, 8, 128, 128);
    make_prompt(ids, 250, 3);
    struct infer_request r = request(ids, 250, 0, &a);
    assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
    run_all(&f);
    assert_int_equal(a.why, INFER_LENGTH);
    assert_int_equal(a.count, 6);
    close_engine(&f);
}

static void too_few_pages_for_the_context_shorten_it(void **unused)
{
    (void)unused;
    struct fixture f;
    static struct answer a[3];
    int32_t ids[200];
    open_engine(&f, 3, 3, 2, 32, 8); // two pages: 64 positions in all
    make_prompt(ids, 200, 3);
    struct infer_request r = request(ids, 64, 0, &a[0]);
    assert_int_equal(infer_submit(f.engine, &r, NULL), -E2BIG);
    for (int i = 0; i < 3; i++) {
        r = request(ids + i, 20, 0, &a[i]);
        assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
    }
    run_all(&f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(a[i].why, INFER_LENGTH);
        assert_int_equal(a[i].count, 44);
    }
    close_engine(&f);
}

static void a_prompt_is_not_begun_that_pages_cannot_hold(void **unused)
{
    (void)unused;
    struct fixture f;
    static struct answer a[3];
    int32_t ids[130];
    struct infer_stats s;
    open_engine(&f, 3, 3, 6, 16, 16); // six pages; each prompt wants four
    make_prompt(ids, 130, 3);
    for (int i = 0; i < 3; i++) {
        struct infer_request r = request(ids + i, 100, 4, &a[i]);
        assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
    }
    infer_step(f.engine);
    infer_get_stats(f.engine, &s);
    assert_int_equal(s.running, 1);
    assert_int_equal(s.waiting, 2);
    run_all(&f);
    infer_get_stats(f.engine, &s);
    assert_int_equal(s.prompt_tokens, 300); // none was read twice
    for (int i = 0; i < 3; i++) {
        assert_int_equal(a[i].count, 4);
    }
    close_engine(&f);
}

static void cancelling_frees_at_once_wherever_it_happens(void **unused)
{
    (void)unused;
    struct fixture f;
    static struct answer a[4];
    struct infer_sequence *s[4];
    int32_t ids[4][40];
    open_engine(&f, 2, 4, 16, 32, 8);
    for (uint32_t i = 0; i < 4; i++) {
        make_prompt(ids[i], 40, i);
        struct infer_request r = request(ids[i], 40, 30, &a[i]);
        assert_int_equal(infer_submit(f.engine, &r, &s[i]), 0);
    }
    infer_cancel(f.engine, s[3]); // waiting
    assert_int_equal(a[3].why, INFER_CANCELLED);
    assert_int_equal(a[3].finishes, 1);
    infer_step(f.engine);
    infer_cancel(f.engine, s[0]); // reading its prompt
    assert_int_equal(a[0].finishes, 1);
    a[1].f = &f;
    a[1].cancel = s[1]; // by itself, out of its callback
    run_all(&f);
    assert_int_equal(a[1].why, INFER_CANCELLED);
    assert_int_equal(a[1].finishes, 1);
    assert_int_equal(a[1].count, 1);
    assert_int_equal(a[2].why, INFER_LENGTH);
    assert_int_equal(a[2].count, 30);

    // One cancels another that is in the same step.
    for (uint32_t i = 0; i < 2; i++) {
        struct infer_request r = request(ids[i], 4, 30, &a[i]);
        assert_int_equal(infer_submit(f.engine, &r, &s[i]), 0);
    }
    a[0].f = &f;
    a[0].cancel = s[1];
    run_all(&f);
    assert_int_equal(a[0].count, 30);
    assert_int_equal(a[1].count, 0);
    assert_int_equal(a[1].finishes, 1);
    close_engine(&f);
}

static void a_callback_can_stop_its_sequence(void **unused)
{
    (void)unused;
    struct fixture f;
    static struct answer a;
    int32_t ids[4];
    open_engine(&f, 1, 1, 8, 32, 8);
    make_prompt(ids, 4, 3);
    struct infer_request r = request(ids, 4, 100, &a);
    a.stop_after = 3;
    assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
    run_all(&f);
    assert_int_equal(a.why, INFER_STOP);
    assert_int_equal(a.count, 3);
    close_engine(&f);
}

static void end_tokens_stop_and_are_not_delivered(void **unused)
{
    (void)unused;
    struct fixture f;
    static struct answer a;
    int32_t ids[4];
    int stopped = 0;
    open_engine(&f, 1, 1, 8, 32, 8);
    for (uint32_t i = 0; i < 60; i++) { // at a high temperature </s> comes sooner or later
        make_prompt(ids, 4, i);
        struct infer_request r = request(ids, 4, 200, &a);
        r.ignore_end = false;
        r.sampling.temperature = 20;
        r.sampling.top_k = 0;
        r.sampling.top_p = 1;
        r.sampling.min_p = 0;
        assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
        run_all(&f);
        stopped += a.why == INFER_STOP;
        for (uint32_t j = 0; j < a.count; j++) {
            assert_int_not_equal(a.ids[j], 2);
        }
    }
    assert_true(stopped > 5);
    close_engine(&f);
}

static void damaged_weights_end_as_errors(void **unused)
{
    (void)unused;
    struct fixture f;
    static struct answer a;
    int32_t ids[4];
    damaged = true;
    open_engine(&f, 1, 1, 8, 32, 8);
    damaged = false;
    make_prompt(ids, 4, 3);
    for (int greedy = 0; greedy < 2; greedy++) {
        struct infer_request r = request(ids, 4, 100, &a);
        r.sampling.temperature = greedy ? 0 : 1;
        assert_int_equal(infer_submit(f.engine, &r, NULL), 0);
        run_all(&f);
        assert_int_equal(a.why, INFER_ERROR);
        assert_int_equal(a.count, 0);
    }
    close_engine(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_same_alone_and_among_others),
        cmocka_unit_test(sequences_advance_together),
        cmocka_unit_test(a_long_prompt_does_not_stop_the_others),
        cmocka_unit_test(requests_beyond_the_limits_are_refused),
        cmocka_unit_test(a_full_context_ends_as_length),
        cmocka_unit_test(too_few_pages_for_the_context_shorten_it),
        cmocka_unit_test(a_prompt_is_not_begun_that_pages_cannot_hold),
        cmocka_unit_test(cancelling_frees_at_once_wherever_it_happens),
        cmocka_unit_test(a_callback_can_stop_its_sequence),
        cmocka_unit_test(end_tokens_stop_and_are_not_delivered),
        cmocka_unit_test(damaged_weights_end_as_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
