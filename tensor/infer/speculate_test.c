// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Speculation: whatever is guessed, the text is the one that comes without guesses, its tokens have
// the model's own distribution, and a good guesser saves steps.
//
// Links: @tensor
#include "tensor/infer/test_engine.h"

#include <errno.h>

enum { SEQUENCES = 6, MADE = 60 };

enum guesser { NOBODY, LOOKUP, TWIN, STRANGER, BOTH };

struct fixture {
    struct test_model model, draft;
    struct infer_engine *engine;
};

static void open_engine(struct fixture *f, enum guesser who, uint32_t slots, uint32_t pages,
                        uint32_t max_tokens)
{
    struct tiny_options o = tiny_default(TN_Q8_0);
    test_model_open(&f->model, &o, pages, slots, max_tokens, TN_F32);
    o.seed = who == TWIN ? 1 : 7;
    o.layers = who == TWIN ? 2 : 1;
    test_model_open(&f->draft, &o, 8 * slots, slots, max_tokens, TN_F32);
    struct infer_options i = {.slots = slots, .queue = 16, .prefill_chunk = 9};
    if (who == LOOKUP || who == BOTH) {
        i.lookup = 5;
    }
    if (who == TWIN || who == STRANGER || who == BOTH) {
        i.draft_model = f->draft.model;
        i.draft = f->draft.executor;
        i.draft_tokens = 3;
    }
    assert_int_equal(infer_open(f->model.model, f->model.executor, &i, &f->engine), 0);
}

static void close_engine(struct fixture *f)
{
    infer_close(f->engine);
    test_model_close(&f->model);
    test_model_close(&f->draft);
}

static struct tn_sampling sampling(int way)
{
    struct tn_sampling s = tn_sampling_default();
    s.temperature = way == 0 ? 0 : 0.7f;
    if (way == 2) {
        s.top_k = 0; // by threshold
        s.repeat_penalty = 1.3f;
        s.frequency_penalty = 0.1f;
    }
    return s;
}

static struct infer_stats answer_all(struct answer *out, enum guesser who, int way, uint32_t slots,
                                     uint32_t pages, uint32_t max_tokens)
{
    struct fixture f;
    open_engine(&f, who, slots, pages, max_tokens);
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        int32_t ids[64];
        uint32_t count = 5 + 11 * i;
        for (uint32_t j = 0; j < count; j++) { // texts that repeat themselves
            ids[j] = (int32_t)((i * 53 + j % 6 * 17 + 5) % 288);
        }
        struct tn_sampling s = sampling(way);
        s.seed = i;
        submit(f.engine, ids, count, MADE + i, &s, &out[i]);
    }
    struct infer_stats stats = run_all(f.engine);
    close_engine(&f);
    return stats;
}

static void the_text_is_the_one_without_guesses(void **unused)
{
    (void)unused;
    static struct answer plain[SEQUENCES], guessed[SEQUENCES];
    for (int way = 0; way < 3; way++) {
        struct infer_stats before = answer_all(plain, NOBODY, way, 2, 16, 64);
        assert_int_equal(before.drafted_tokens, 0);
        for (enum guesser who = LOOKUP; who <= BOTH; who++) {
            // At ease; with pages taken back and few tokens a step; alone.
            static const uint32_t limits[][3] = {{4, 40, 64}, {3, 9, 17}, {1, 8, 128}};
            for (int l = 0; l < 3; l++) {
                struct infer_stats s =
                    answer_all(guessed, who, way, limits[l][0], limits[l][1], limits[l][2]);
                for (int i = 0; i < SEQUENCES; i++) {
                    assert_same_answer(&guessed[i], &plain[i]);
                }
                assert_true(s.accepted_tokens <= s.drafted_tokens);
                if (who == TWIN && l == 2) { // what is equal guesses right, always
                    assert_true(s.drafted_tokens > SEQUENCES * MADE / 2);
                    assert_int_equal(s.accepted_tokens, s.drafted_tokens);
                }
                if (who == STRANGER) {
                    assert_true(s.drafted_tokens > s.accepted_tokens);
                }
            }
        }
    }
}

static void right_guesses_save_steps(void **unused)
{
    (void)unused;
    static struct answer a[SEQUENCES];
    struct infer_stats plain = answer_all(a, NOBODY, 0, 1, 8, 128);
    struct infer_stats twin = answer_all(a, TWIN, 0, 1, 8, 128);
    assert_true(twin.steps * 3 < plain.steps); // of four tokens a step
}

// ---- distribution ------------------------------------------------------------------------------

enum { CHOICES = 3, DRAWN = 3, CELLS = 27, TRIALS = 2000 };

// The CHOICES likeliest tokens after `ids` and their probabilities among each other.
static void likeliest(struct test_model *m, const int32_t *ids, uint32_t count, int32_t *best,
                      double *p)
{
    static float logits[288];
    const uint32_t pages[] = {0, 1};
    struct tn_step_sequence s = {.tokens = ids,
                                 .token_count = count,
                                 .kv_pages = pages,
                                 .kv_page_count = 2,
                                 .logits_from = count - 1,
                                 .logits = logits};
    assert_int_equal(tn_step(m->executor, &s, 1), 0);
    double total = 0;
    for (int c = 0; c < CHOICES; c++) {
        best[c] = 0;
        for (int32_t i = 1; i < 288; i++) {
            best[c] = logits[i] > logits[best[c]] ? i : best[c];
        }
        p[c] = exp((double)logits[best[c]]);
        total += p[c];
        logits[best[c]] = -1e30f;
    }
    for (int c = 0; c < CHOICES; c++) {
        p[c] /= total;
    }
}

static int choice_of(const int32_t *best, int32_t id)
{
    for (int c = 0; c < CHOICES; c++) {
        if (best[c] == id) {
            return c;
        }
    }
    fail_msg("token %d is none of the likeliest", id);
    return 0;
}

static void tokens_have_the_models_distribution(void **unused)
{
    (void)unused;
    static struct answer a;
    struct fixture f;
    struct tn_sampling s = {.temperature = 1, .top_k = CHOICES, .top_p = 1, .repeat_penalty = 1};
    int32_t ids[4 + DRAWN] = {9, 40, 9, 40}, tree[1 + CHOICES + 9][CHOICES];
    double p[1 + CHOICES + 9][CHOICES], wanted[CELLS];
    unsigned found[CELLS] = {0};
    open_engine(&f, BOTH, 1, 8, 64);
    likeliest(&f.model, ids, 4, tree[0], p[0]);
    for (int i = 0; i < CHOICES; i++) {
        ids[4] = tree[0][i];
        likeliest(&f.model, ids, 5, tree[1 + i], p[1 + i]);
        for (int j = 0; j < CHOICES; j++) {
            ids[5] = tree[1 + i][j];
            int node = 1 + CHOICES + i * CHOICES + j;
            likeliest(&f.model, ids, 6, tree[node], p[node]);
            for (int k = 0; k < CHOICES; k++) {
                wanted[(i * CHOICES + j) * CHOICES + k] = p[0][i] * p[1 + i][j] * p[node][k];
            }
        }
    }
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        s.seed = trial;
        submit(f.engine, ids, 4, 6, &s, &a);
        while (a.finishes == 0) {
            infer_step(f.engine);
        }
        int i = choice_of(tree[0], a.ids[0]), j = choice_of(tree[1 + i], a.ids[1]);
        int k = choice_of(tree[1 + CHOICES + i * CHOICES + j], a.ids[2]);
        found[(i * CHOICES + j) * CHOICES + k]++;
    }
    struct infer_stats stats;
    infer_get_stats(f.engine, &stats);
    assert_true(stats.accepted_tokens > TRIALS / 4); // some were right, some wrong
    assert_true(stats.drafted_tokens - stats.accepted_tokens > TRIALS / 4);
    double chi = 0;
    for (int i = 0; i < CELLS; i++) {
        double expected = wanted[i] * TRIALS;
        chi += ((double)found[i] - expected) * ((double)found[i] - expected) / expected;
    }
    assert_true(chi < 54.05); // 26 degrees of freedom: exceeded once in a thousand
    close_engine(&f);
}

static void guessers_that_do_not_fit_are_refused(void **unused)
{
    (void)unused;
    struct tiny_options o = tiny_default(TN_Q8_0);
    struct test_model m, draft;
    struct infer_engine *e;
    test_model_open(&m, &o, 40, 4, 32, TN_F32);
    for (int wrong = 0; wrong < 3; wrong++) {
        o.vocabulary = wrong == 0 ? 320 : 288;
        test_model_open(&draft, &o, wrong == 1 ? 31 : 32, wrong == 2 ? 3 : 4, 32, TN_F32);
        struct infer_options i = {.slots = 4, .draft_model = draft.model, .draft = draft.executor};
        assert_int_equal(infer_open(m.model, m.executor, &i, &e), -EINVAL);
        test_model_close(&draft);
    }
    test_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_the_one_without_guesses),
        cmocka_unit_test(right_guesses_save_steps),
        cmocka_unit_test(tokens_have_the_models_distribution),
        cmocka_unit_test(guessers_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
