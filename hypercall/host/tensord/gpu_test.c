// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The daemon with a GPU, which is the emulated one: guests get what the device makes of their
// tokens, alone and together; a device that fails, or is not there, leaves them to the cores.
//
// Links: @tensor @cuda tensor/core/pool_host.c tensor/model/synthetic_host.c
// Links: tensor/model/synthetic_vocabulary_host.c @tensord hypercall/host/tensord/play_host.c
// Links: hypercall/guest/client.c hypercall/guest/client_names.c hypercall/guest/connect_host.c
// Links: tensor/cuda/fake_driver_host.c
// Libs: -lmbedcrypto -lseccomp -lmicrohttpd -rdynamic -ldl
#include "hypercall/host/tensord/play_host.h"
#include "tensor/cuda.h"
#include "tensor/cuda/fake_driver_host.h"

#include <math.h>
#include <stdio.h>

enum { MADE = 24, MOST_PROMPT = 100, PAGES = 4 };
static const char *const with_gpu[] = {"--device", "gpu:0", "--cuda-library", "", NULL};

// The device in this process: all logits of `tokens`, then greedy tokens.
static void on_device(const struct play_daemon *d, const int32_t *tokens, uint32_t count,
                      int32_t *made, float *logits)
{
    static const uint32_t pages[PAGES] = {0, 1, 2, 3};
    const struct tn_cuda_executor_options o = {
        .max_tokens = 128, .max_sequences = 1, .kv_type = TN_F32, .pages = PAGES};
    struct tn_cuda_device *device;
    struct tn_cuda_model *model;
    struct tn_cuda_executor *x;
    char error[240];
    void *kv = aligned_alloc(64, tn_kv_page_bytes(d->tensor_model, TN_F32) * PAGES);
    if (tn_cuda_device_open("", 0, NULL, &device, error, sizeof error) ||
        tn_cuda_model_open(device, d->tensor_model, &model, error, sizeof error) ||
        tn_cuda_executor_open(model, &o, &x, error, sizeof error)) {
        fail_msg("%s", error);
    }
    struct tn_step_sequence s = {.tokens = tokens,
                                 .token_count = count,
                                 .kv_pages = pages,
                                 .kv_page_count = PAGES,
                                 .kv = kv,
                                 .kv_page_total = PAGES,
                                 .run = 1,
                                 .logits = logits};
    uint32_t vocabulary = d->info.vocabulary;
    for (uint32_t i = 0; i < MADE; i++) {
        assert_int_equal(tn_cuda_step(x, &s, 1), 0);
        const float *row = s.logits + (size_t)(s.token_count - 1 - s.logits_from) * vocabulary;
        made[i] = 0;
        for (uint32_t v = 1; v < vocabulary; v++) {
            made[i] = row[v] > row[made[i]] ? (int32_t)v : made[i];
        }
        s.position += s.token_count;
        s.tokens = &made[i];
        s.token_count = 1;
        s.logits = logits + (size_t)count * vocabulary; // one row more
    }
    tn_cuda_executor_close(x);
    tn_cuda_model_close(model);
    tn_cuda_device_close(device);
    free(kv);
}

static float *room(const struct play_daemon *d)
{
    float *logits = malloc((size_t)(MOST_PROMPT + 1) * d->info.vocabulary * sizeof *logits);
    assert_non_null(logits);
    return logits;
}

static bool audited(const struct play_daemon *d, const char *words)
{
    char path[128], line[600];
    bool found = false;
    snprintf(path, sizeof path, "%s/audit.log", d->dir);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        found |= strstr(line, words) != NULL;
    }
    if (f) {
        fclose(f);
    }
    return found;
}

static bool statistics_say(const struct play_daemon *d, const char *words)
{
    char *statistics = play_control(d, "{\"op\":\"statistics\"}");
    bool found = statistics && strstr(statistics, words);
    free(statistics);
    return found;
}

static void guests_get_what_the_device_makes(void **unused)
{
    (void)unused;
    enum { GUESTS = 2, SLOTS = 3, LONGEST = 5 + 30 * SLOTS };
    struct play_daemon d;
    struct play_guest g[GUESTS];
    int32_t tokens[MOST_PROMPT], wanted[GUESTS][SLOTS][MADE], made[MADE];
    uint64_t tags[GUESTS][SLOTS];
    uint32_t count;
    play_start(&d, with_gpu);
    float *logits = room(&d);
    for (unsigned i = 0; i < GUESTS; i++) {
        char name[8];
        snprintf(name, sizeof name, "g%u", i);
        play_join(&d, &g[i], name, "");
    }
    for (unsigned i = 0; i < GUESTS * SLOTS; i++) {
        uint32_t length = 5 + 30 * (i % SLOTS);
        play_tokens(tokens, length, i);
        on_device(&d, tokens, length, wanted[i / SLOTS][i % SLOTS], logits);
    }
    for (unsigned i = 0; i < GUESTS * SLOTS; i++) {
        uint32_t length = 5 + 30 * (i % SLOTS);
        play_tokens(tokens, length, i);
        struct hc_run run = play_run(&g[i / SLOTS], i % SLOTS, tokens, length, MADE);
        tags[i / SLOTS][i % SLOTS] = play_submit(&g[i / SLOTS], i % SLOTS, &run);
    }
    for (unsigned i = 0; i < GUESTS * SLOTS; i++) {
        struct play_guest *of = &g[i / SLOTS];
        assert_int_equal(play_end(of, tags[i / SLOTS][i % SLOTS], made, MADE, &count, NULL), 0);
        assert_int_equal(count, MADE);
        assert_memory_equal(made, wanted[i / SLOTS][i % SLOTS], sizeof made);
    }
    assert_true(statistics_say(&d, "\"device\":\"gpu\""));
    assert_true(statistics_say(&d, "\"kv_pages_loaded\":0,")); // a run's K and V stay there
    assert_true(audited(&d, "on the GPU"));
    struct hc_completion c =
        play_call(&g[0], HC_CAPABILITIES, g[0].arguments, 0, sizeof(struct hc_capabilities));
    assert_int_equal(c.status, 0);
    const struct hc_capabilities *can = (void *)(g[0].client.region + g[0].arguments_at);
    assert_true(can->features & HC_FEATURE_DEVICE);
    assert_int_equal(can->device_count, 2);
    for (unsigned i = 0; i < GUESTS; i++) {
        play_leave(&g[i]);
    }
    free(logits);
    play_stop(&d);
}

// Logits come back, and near the CPU's: what its rounding of inputs makes is a few per cent here.
static void logits_are_near_the_cpus(void **unused)
{
    (void)unused;
    enum { LENGTH = 90 };
    static const uint32_t pages[PAGES] = {0, 1, 2, 3};
    struct play_daemon d;
    struct play_guest g;
    struct tn_executor *x;
    char error[256];
    int32_t tokens[LENGTH], made[MADE];
    uint32_t count;
    play_start(&d, with_gpu);
    play_join(&d, &g, "a", "");
    play_tokens(tokens, LENGTH, 2);
    size_t row = d.info.vocabulary;
    float *wanted = room(&d), *cpu = room(&d);
    on_device(&d, tokens, LENGTH, made, wanted);
    const struct tn_executor_options o = {.isa = tn_isa_best(),
                                          .pool = &tn_pool_single,
                                          .max_tokens = 128,
                                          .max_sequences = 1,
                                          .kv_page_total = 4};
    assert_int_equal(tn_executor_open(d.tensor_model, &o, &x, error, sizeof error), 0);
    const struct tn_step_sequence s = {.tokens = tokens,
                                       .token_count = LENGTH,
                                       .kv_pages = pages,
                                       .kv_page_count = PAGES,
                                       .logits = cpu};
    assert_int_equal(tn_step(x, &s, 1), 0);
    tn_executor_close(x);
    struct hc_completion c = play_call(&g, HC_ALLOC, LENGTH * row * sizeof(float), 0, 0);
    assert_int_equal(c.status, 0);
    struct hc_run run = play_run(&g, 0, tokens, LENGTH, 0);
    run.logits = (struct hc_span){.buffer = (uint32_t)c.value[0]};
    run.logit_rows = LENGTH;
    assert_int_equal(play_end(&g, play_submit(&g, 0, &run), made, MADE, &count, NULL), 0);
    const float *found = (const void *)(g.client.region + c.value[1]);
    assert_memory_equal(found, wanted, LENGTH * row * sizeof(float));
    double off = 0, size = 0;
    for (size_t i = 0; i < LENGTH * row; i++) {
        off += pow((double)found[i] - (double)cpu[i], 2);
        size += pow((double)cpu[i], 2);
    }
    assert_true(sqrt(off / size) > 0 && sqrt(off / size) < 4e-2);
    free(wanted);
    free(cpu);
    play_leave(&g);
    play_stop(&d);
}

static void a_device_that_fails_leaves_the_cores_to_go_on(void **unused)
{
    (void)unused;
    struct play_daemon d;
    struct play_guest g;
    int32_t tokens[8], wanted[MADE], made[MADE], rest[MADE];
    uint32_t count;
    setenv("FAKE_CUDA_FAIL_AFTER", "300", 1);
    play_start(&d, with_gpu);
    unsetenv("FAKE_CUDA_FAIL_AFTER");
    play_join(&d, &g, "a", "");
    float *logits = room(&d);
    play_tokens(tokens, 8, 3);
    on_device(&d, tokens, 8, wanted, logits);
    struct hc_run run = play_run(&g, 0, tokens, 8, MADE);
    assert_int_equal(play_end(&g, play_submit(&g, 0, &run), made, MADE, &count, NULL), 0);
    assert_int_equal(count, MADE);
    uint32_t same = 0;
    while (same < MADE && made[same] == wanted[same]) {
        same++;
    }
    assert_true(same >= 5); // until it failed
    assert_true(audited(&d, "goes on with the host's cores"));
    assert_true(audited(&d, "ILLEGAL_ADDRESS"));
    assert_true(statistics_say(&d, "\"device\":\"cpu\""));
    // Everything from now on is the cores'.
    const struct tn_sampling greedy = {.top_p = 1, .repeat_penalty = 1};
    play_native(&d, tokens, 8, MADE, &greedy, rest);
    run = play_run(&g, 1, tokens, 8, MADE);
    assert_int_equal(play_end(&g, play_submit(&g, 1, &run), made, MADE, &count, NULL), 0);
    assert_memory_equal(made, rest, sizeof rest);
    free(logits);
    play_leave(&g);
    play_stop(&d);
}

static void without_a_device_the_cores_compute(void **unused)
{
    (void)unused;
    static const char *const options[][5] = {
        {"--device", "gpu:7", "--cuda-library", "", NULL},
        {"--device", "gpu", "--cuda-library", "libno-such-driver.so.1", NULL},
        {"--device", "auto", "--cuda-library", "", NULL},
        {"--device", "cpu", "--cuda-library", "", NULL}};
    static const char *const words[] = {"INVALID_DEVICE", "no CUDA driver", "have the best score",
                                        NULL};
    const struct tn_sampling greedy = {.top_p = 1, .repeat_penalty = 1};
    for (int i = 0; i < 4; i++) {
        struct play_daemon d;
        struct play_guest g;
        int32_t tokens[8], wanted[MADE], made[MADE];
        uint32_t count;
        play_start(&d, options[i]);
        play_join(&d, &g, "a", "");
        play_tokens(tokens, 8, 3);
        play_native(&d, tokens, 8, MADE, &greedy, wanted);
        struct hc_run run = play_run(&g, 0, tokens, 8, MADE);
        assert_int_equal(play_end(&g, play_submit(&g, 0, &run), made, MADE, &count, NULL), 0);
        assert_memory_equal(made, wanted, sizeof wanted);
        assert_true(words[i] ? audited(&d, words[i]) : !audited(&d, "\"device\""));
        assert_true(statistics_say(&d, "\"device\":\"cpu\""));
        play_leave(&g);
        play_stop(&d);
    }
}

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(guests_get_what_the_device_makes),
        cmocka_unit_test(logits_are_near_the_cpus),
        cmocka_unit_test(a_device_that_fails_leaves_the_cores_to_go_on),
        cmocka_unit_test(without_a_device_the_cores_compute),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return play_main(argc, argv, tests);
}
