// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the CUDA executor refuses, and what it says when memory, the device or the driver fail.
//
// Links: @tensor @cuda tensor/cuda/fake_driver_host.c tensor/cuda/setup_host.c
//
// Links: tensor/model/synthetic_host.c tensor/model/synthetic_vocabulary_host.c
//
// Links: tensor/core/pool_host.c
// Libs: -rdynamic -ldl
#include "tensor/cuda/fake_driver_host.h"
#include "tensor/cuda/setup_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void what_there_are_no_kernels_for_is_refused_by_name(void **unused)
{
    (void)unused;
    static const struct {
        const char *architecture;
        uint32_t type;
        const char *word;
    } refused[] = {{"qwen3moe", TN_F32, "experts"},
                   {"bert", TN_F32, "causal"},
                   {"llama", TN_Q3_K, "Q3_K"},
                   {"llama", TN_IQ4_NL, "IQ4_NL"}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct setup s;
        char error[256] = "";
        struct synthetic_options o = model_of(refused[i].architecture, refused[i].type);
        o.expert_feed_forward = 64;
        open_model(&s, &o);
        assert_int_equal(tn_cuda_device_open("", 0, NULL, &s.device, error, sizeof error), 0);
        assert_int_equal(tn_cuda_model_open(s.device, s.model, &s.weights, error, sizeof error),
                         -ENOTSUP);
        assert_non_null(strstr(error, refused[i].word));
        close_setup(&s);
    }
}

static void no_memory_is_said_and_leaves_nothing_behind(void **unused)
{
    (void)unused;
    struct setup s;
    char error[256] = "";
    struct synthetic_options o = model_of("llama", TN_F32);
    const struct tn_cuda_executor_options e = {
        .max_tokens = 128, .max_sequences = 16, .kv_type = TN_F16, .pages = 1000};
    open_model(&s, &o);
    assert_int_equal(tn_cuda_device_open("", 0, NULL, &s.device, error, sizeof error), 0);
    for (size_t limit = 1000; limit < 3000000; limit *= 3) {
        fake_cuda_limit(limit);
        int rc = tn_cuda_model_open(s.device, s.model, &s.weights, error, sizeof error);
        if (rc == 0) {
            rc = tn_cuda_executor_open(s.weights, &e, &s.x, error, sizeof error);
            tn_cuda_model_close(s.weights);
            s.weights = NULL;
        }
        assert_int_equal(rc, -ENOMEM);
        assert_non_null(strstr(error, "OUT_OF_MEMORY"));
    }
    fake_cuda_limit((size_t)512 << 20);
    close_setup(&s);
}

static void a_device_that_fails_says_so_and_goes_on_failing(void **unused)
{
    (void)unused;
    struct setup s;
    struct synthetic_options o = model_of("llama", TN_Q8_0);
    float *logits = logits_of(TOKENS);
    int32_t ids[TOKENS];
    make_tokens(ids, TOKENS, 6);
    open_model(&s, &o);
    open_device(&s, TN_F32, PAGES);
    void *kv = store_of(&s, TOTAL);
    run(&s, ids, 30, 30, 1, kv, logits);
    struct tn_step_sequence q = {.tokens = ids + 30,
                                 .token_count = 1,
                                 .position = 30,
                                 .kv_pages = setup_pages,
                                 .kv_page_count = 3,
                                 .kv = kv,
                                 .kv_page_total = TOTAL,
                                 .run = 1,
                                 .logits = logits};
    fake_cuda_fail_after(5);
    assert_int_equal(tn_cuda_step(s.x, &q, 1), -EIO);
    assert_non_null(strstr(tn_cuda_failure(s.x), "ILLEGAL_ADDRESS"));
    fake_cuda_fail_after(-1);
    assert_int_equal(tn_cuda_step(s.x, &q, 1), -EIO);
    // What was stored before is whole: another executor goes on from there.
    run_cpu(&s, ids, 31, 30, kv, logits);
    free(kv);
    free(logits);
    close_setup(&s);
}

static void steps_beyond_the_limits_are_refused(void **unused)
{
    (void)unused;
    struct setup s;
    struct synthetic_options o = model_of("llama", TN_F32);
    float *logits = logits_of(TOKENS);
    int32_t ids[TOKENS];
    make_tokens(ids, TOKENS, 7);
    open_model(&s, &o);
    open_device(&s, TN_F32, PAGES);
    void *kv = store_of(&s, TOTAL);
    const struct tn_step_sequence good = {.tokens = ids,
                                          .token_count = 3,
                                          .kv_pages = setup_pages,
                                          .kv_page_count = 1,
                                          .kv = kv,
                                          .kv_page_total = TOTAL,
                                          .logits = logits};
    struct tn_step_sequence bad[9];
    for (int i = 0; i < 9; i++) {
        bad[i] = good;
    }
    int32_t outside[] = {1, VOCABULARY, 2};
    static const uint32_t no_page[] = {TOTAL};
    bad[0].kv = NULL;
    bad[1].token_count = 0;
    bad[2].position = 31; // one page is not enough
    bad[3].tokens = outside;
    bad[4].kv_pages = no_page;
    bad[5].logits = NULL;
    bad[6].logits_from = 4;
    bad[7].position = UINT32_MAX - 1;
    bad[8].embedding = logits;
    for (int i = 0; i < 9; i++) {
        assert_int_equal(tn_cuda_step(s.x, &bad[i], 1), -EINVAL);
    }
    struct tn_step_sequence many[17];
    for (int i = 0; i < 17; i++) {
        many[i] = good;
    }
    assert_int_equal(tn_cuda_step(s.x, many, 17), -EINVAL);
    assert_int_equal(tn_cuda_step(s.x, many, 0), -EINVAL);
    assert_int_equal(tn_cuda_step(s.x, &good, 1), 0);
    free(kv);
    free(logits);
    close_setup(&s);
}

// ---- the driver --------------------------------------------------------------------------------

static void drivers_that_do_not_serve_are_refused(void **unused)
{
    (void)unused;
    char error[256] = "";
    struct tn_cuda_device *d = NULL;
    assert_int_equal(tn_cuda_available("", error, sizeof error), 0);
    assert_int_equal(tn_cuda_available("libno-such-driver.so.1", error, sizeof error), -ENOENT);
    assert_non_null(strstr(error, "no CUDA driver"));
    assert_int_equal(tn_cuda_available("libm.so.6", error, sizeof error), -ENOENT);
    assert_non_null(strstr(error, "cuInit"));
    assert_int_equal(tn_cuda_device_open("", 3, NULL, &d, error, sizeof error), -ENOENT);
    assert_non_null(strstr(error, "INVALID_DEVICE"));
    assert_int_equal(tn_cuda_device_open("", 0, "0000:99:00.0", &d, error, sizeof error), -ENOENT);
    assert_int_equal(tn_cuda_device_open("", 9, "00000000:01:00.0", &d, error, sizeof error), 0);
    struct tn_cuda_device_info info;
    tn_cuda_device_info(d, &info);
    assert_string_equal(info.name, "emulated device 0");
    assert_int_equal(info.capability, 800);
    assert_true(info.free_bytes > 0 && info.free_bytes <= info.memory_bytes);
    tn_cuda_device_close(d);
    assert_int_equal(fake_cuda_open_things(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_there_are_no_kernels_for_is_refused_by_name),
        cmocka_unit_test(no_memory_is_said_and_leaves_nothing_behind),
        cmocka_unit_test(a_device_that_fails_says_so_and_goes_on_failing),
        cmocka_unit_test(steps_beyond_the_limits_are_refused),
        cmocka_unit_test(drivers_that_do_not_serve_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
