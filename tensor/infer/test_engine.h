// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: engines over small random models, answers collected from them.
#ifndef TENSOR_TEST_ENGINE_H
#define TENSOR_TEST_ENGINE_H

#include "tensor/infer.h"
#include "tensor/model/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { ANSWER_MOST = 256 };

struct answer {
    int32_t ids[ANSWER_MOST];
    uint32_t count;
    int finishes;
    enum infer_finish why;
};

static inline int answer_token(void *ctx, int32_t id)
{
    struct answer *a = ctx;
    assert_true(a->count < ANSWER_MOST);
    a->ids[a->count++] = id;
    return 0;
}

static inline void answer_finish(void *ctx, enum infer_finish why, uint32_t prompt, uint32_t made)
{
    struct answer *a = ctx;
    (void)prompt;
    assert_int_equal(made, a->count);
    a->finishes++;
    a->why = why;
}

struct test_model {
    void *file;
    struct tn_model *model;
    struct tn_executor *executor;
};

static inline void test_model_open(struct test_model *m, const struct tiny_options *o,
                                   uint32_t pages, uint32_t sequences, uint32_t max_tokens,
                                   uint32_t kv_type)
{
    char error[256] = "";
    size_t bytes;
    m->file = tiny_gguf(o, &bytes);
    if (tn_model_open(m->file, bytes, &m->model, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
    struct tn_executor_options x = {.isa = tn_isa_best(),
                                    .pool = &tn_pool_single,
                                    .max_tokens = max_tokens,
                                    .max_sequences = sequences,
                                    .kv_page_total = pages,
                                    .kv_type = kv_type};
    if (tn_executor_open(m->model, &x, &m->executor, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
}

static inline void test_model_close(struct test_model *m)
{
    tn_executor_close(m->executor);
    tn_model_close(m->model);
    free(m->file);
}

static inline void submit(struct infer_engine *e, const int32_t *ids, size_t count, uint32_t most,
                          const struct tn_sampling *s, struct answer *a)
{
    memset(a, 0, sizeof *a);
    struct infer_request r = {.tokens = ids,
                              .token_count = count,
                              .max_tokens = most,
                              .ignore_end = true,
                              .sampling = *s,
                              .on_token = answer_token,
                              .on_finish = answer_finish,
                              .ctx = a};
    assert_int_equal(infer_submit(e, &r, NULL), 0);
}

static inline struct infer_stats run_all(struct infer_engine *e)
{
    for (int steps = 0; infer_step(e); steps++) {
        assert_true(steps < 20000);
    }
    struct infer_stats s;
    infer_get_stats(e, &s);
    assert_int_equal(s.running + s.waiting, 0);
    assert_int_equal(s.kv_pages_used, 0);
    assert_int_equal(s.kv_pages_shared, 0);
    return s;
}

static inline void assert_same_answer(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->finishes, 1);
    assert_int_equal(b->finishes, 1);
    assert_int_equal(a->why, b->why);
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->ids, b->ids, a->count * sizeof(int32_t));
}

#endif
