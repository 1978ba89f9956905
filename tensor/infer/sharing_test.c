// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Prompts that begin alike: they share pages, nothing else about them changes.
//
// Links: @tensor
#include "tensor/infer/test_engine.h"

enum { PROMPTS = 12, LONGEST = 150 };

struct prompt {
    int32_t ids[LONGEST];
    uint32_t count;
};

static void number(int32_t *ids, uint32_t from, uint32_t to, uint32_t n)
{
    for (uint32_t i = from; i < to; i++) {
        ids[i] = (int32_t)((n * 71 + i * 19 + i / 7 + 3) % 288);
    }
}

// Three families; in each the prompts leave the common beginning at different places.
static void make_prompts(struct prompt *p)
{
    for (uint32_t i = 0; i < PROMPTS; i++) {
        uint32_t common = 20 + 23 * (i / 3) + (i == 5);
        p[i].count = common + 1 + 7 * (i % 4);
        number(p[i].ids, 0, common, i % 3);
        number(p[i].ids, common, p[i].count, 10 + i);
    }
}

static void open_engine(struct test_model *m, struct infer_engine **e, uint32_t slots,
                        uint32_t pages, bool no_sharing, uint32_t kv_type)
{
    struct tiny_options o = tiny_default(TN_Q8_0);
    o.embedding = kv_type == TN_Q8_0 || kv_type == TN_Q4_0 ? 128 : 64; // heads of whole blocks
    test_model_open(m, &o, pages, slots, 24, kv_type);
    struct infer_options i = {
        .slots = slots, .queue = 16, .prefill_chunk = 9, .no_sharing = no_sharing};
    assert_int_equal(infer_open(m->model, m->executor, &i, e), 0);
}

static struct infer_stats answer_all(struct answer *out, uint32_t slots, uint32_t pages,
                                     bool no_sharing, uint32_t kv_type)
{
    static struct prompt p[PROMPTS];
    struct test_model m;
    struct infer_engine *e;
    struct tn_sampling s = tn_sampling_default();
    make_prompts(p);
    open_engine(&m, &e, slots, pages, no_sharing, kv_type);
    for (uint32_t i = 0; i < PROMPTS; i++) {
        s.seed = i;
        submit(e, p[i].ids, p[i].count, 30 + i, &s, &out[i]);
    }
    struct infer_stats stats = run_all(e);
    infer_close(e);
    test_model_close(&m);
    return stats;
}

static void answers_are_the_same_with_and_without_sharing(void **unused)
{
    (void)unused;
    static struct answer apart[PROMPTS], together[PROMPTS];
    static const struct {
        uint32_t slots, pages;
    } ways[] = {{1, 40}, {4, 64}, {3, 9}, {4, 8}}; // alone, at ease, with pages taken back
    static const uint32_t types[] = {TN_F32, TN_F16, TN_Q8_0, TN_Q4_0};
    for (int type = 0; type < 4; type++) {
        uint32_t kv = types[type];
        struct infer_stats without = answer_all(apart, 2, 40, true, kv);
        assert_int_equal(without.reused_tokens, 0);
        assert_int_equal(without.kv_pages_cached, 0);
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            struct infer_stats with = answer_all(together, ways[w].slots, ways[w].pages, false, kv);
            assert_true(with.reused_tokens > 60);
            for (int i = 0; i < PROMPTS; i++) {
                assert_same_answer(&together[i], &apart[i]);
            }
        }
    }
}

static void full_pages_are_shared_and_the_next_one_copied(void **unused)
{
    (void)unused;
    static struct answer a[3];
    struct test_model m;
    struct infer_engine *e;
    struct infer_stats s;
    struct tn_sampling greedy = {.temperature = 0};
    int32_t ids[2][120];
    open_engine(&m, &e, 2, 40, false, TN_F32);
    number(ids[0], 0, 120, 1);
    memcpy(ids[1], ids[0], sizeof ids[0]);
    number(ids[1], 85, 120, 2); // 2 pages and 21 tokens are common
    submit(e, ids[0], 120, 100, &greedy, &a[0]);
    while (a[0].count == 0) {
        infer_step(e);
    }
    submit(e, ids[1], 120, 20, &greedy, &a[1]);
    infer_step(e);
    infer_get_stats(e, &s);
    assert_int_equal(s.reused_tokens, 85);
    assert_int_equal(s.kv_pages_shared, 2);
    run_all(e);
    // A prompt that is there as a whole: its last token is computed all the same.
    submit(e, ids[0], 120, 20, &greedy, &a[2]);
    s = run_all(e);
    assert_int_equal(s.reused_tokens, 85 + 119);
    assert_int_equal(s.prompt_tokens, 120 + 35 + 1);
    assert_memory_equal(a[2].ids, a[0].ids, 20 * sizeof(int32_t));
    assert_true(s.kv_pages_cached > 8);
    infer_forget(e);
    infer_get_stats(e, &s);
    assert_int_equal(s.kv_pages_cached, 0);
    submit(e, ids[0], 120, 20, &greedy, &a[2]);
    s = run_all(e);
    assert_int_equal(s.reused_tokens, 85 + 119);
    assert_memory_equal(a[2].ids, a[0].ids, 20 * sizeof(int32_t));
    infer_close(e);
    test_model_close(&m);
}

static void equal_tokens_after_different_ones_are_not_shared(void **unused)
{
    (void)unused;
    static struct answer a[2];
    struct test_model m;
    struct infer_engine *e;
    struct tn_sampling greedy = {.temperature = 0};
    int32_t ids[100];
    open_engine(&m, &e, 1, 40, false, TN_F32);
    number(ids, 0, 100, 1);
    for (int i = 0; i < 2; i++) { // the first one's second page is what the second begins with
        submit(e, ids + 32 * i, 100 - 32 * (size_t)i, 5, &greedy, &a[i]);
        struct infer_stats s = run_all(e);
        assert_int_equal(s.reused_tokens, 0);
    }
    infer_close(e);
    test_model_close(&m);
}

static void cached_pages_give_way(void **unused)
{
    (void)unused;
    static struct answer a;
    struct test_model m;
    struct infer_engine *e;
    struct tn_sampling greedy = {.temperature = 0};
    int32_t ids[100];
    open_engine(&m, &e, 1, 8, false, TN_F32);
    for (uint32_t i = 0; i < 40; i++) { // each takes four of the eight pages
        number(ids, 0, 100, i % 2 ? i : 0);
        submit(e, ids, 100, 5, &greedy, &a);
        struct infer_stats s = run_all(e);
        assert_true(s.kv_pages_cached <= 8);
        // Every second one is the same and was used one ago: it stays.
        assert_int_equal(s.reused_tokens, i / 2 * 96);
    }
    infer_close(e);
    test_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_same_with_and_without_sharing),
        cmocka_unit_test(full_pages_are_shared_and_the_next_one_copied),
        cmocka_unit_test(equal_tokens_after_different_ones_are_not_shared),
        cmocka_unit_test(cached_pages_give_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
