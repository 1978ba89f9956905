// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The daemon answers guests as the native engine does, alone and together, and outlives its worker.
//
// Links: @tensor tensor/core/pool_host.c tensor/model/synthetic_host.c
// Links: tensor/model/synthetic_vocabulary_host.c @tensord hypercall/host/tensord/play_host.c
// Links: hypercall/guest/client.c hypercall/guest/client_names.c hypercall/guest/connect_host.c
// Libs: -lmbedcrypto -lseccomp -lmicrohttpd
#include "hypercall/host/tensord/play_host.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MADE = 40 };
static const struct tn_sampling greedy = {.top_p = 1, .repeat_penalty = 1};

static void the_answer_is_the_native_engines(void **unused)
{
    (void)unused;
    struct play_daemon d;
    struct play_guest g;
    int32_t tokens[100], wanted[MADE], made[MADE];
    uint32_t count;
    uint64_t reason;
    play_start(&d, NULL);
    play_join(&d, &g, "a", "");
    static const uint32_t lengths[] = {1, 31, 32, 33, 100};
    for (unsigned i = 0; i < 5; i++) {
        play_tokens(tokens, lengths[i], i);
        assert_int_equal(play_native(&d, tokens, lengths[i], MADE, &greedy, wanted), MADE);
        struct hc_run run = play_run(&g, 0, tokens, lengths[i], MADE);
        assert_int_equal(play_end(&g, play_submit(&g, 0, &run), made, MADE, &count, &reason), 0);
        assert_int_equal(count, MADE);
        assert_int_equal(reason, HC_REASON_LENGTH);
        assert_memory_equal(made, wanted, sizeof wanted);
        // The sequence goes on in a second run, from the K and V of the first.
        if (i == 2) {
            int32_t all[100 + MADE], more[MADE];
            memcpy(all, tokens, lengths[i] * sizeof *all);
            memcpy(all + lengths[i], wanted, sizeof wanted);
            uint32_t known = lengths[i] + 10;
            run = play_run(&g, 0, all + known - 3 - 1, 4, MADE - 10);
            run.history_count = 3;
            run.token_count = 1;
            run.position = known - 1;
            assert_int_equal(play_end(&g, play_submit(&g, 0, &run), more, MADE, &count, NULL), 0);
            assert_int_equal(count, MADE - 10);
            assert_memory_equal(more, wanted + 10, (MADE - 10) * sizeof *more);
        }
    }
    play_leave(&g);
    play_stop(&d);
}

// Stops the worker while a test submits, so that it finds everything at once; and lets it go on.
static void freeze(const struct play_daemon *d, bool on)
{
    char *ping = play_control(d, "{\"op\":\"ping\"}");
    assert_int_equal(kill((pid_t)play_number(ping, "worker"), on ? SIGSTOP : SIGCONT), 0);
    free(ping);
}

static void guests_together_get_what_each_gets_alone(void **unused)
{
    (void)unused;
    enum { GUESTS = 3, SLOTS = 4 };
    struct play_daemon d;
    struct play_guest g[GUESTS];
    int32_t tokens[60], wanted[GUESTS][SLOTS][MADE], made[MADE];
    uint64_t tags[GUESTS][SLOTS];
    play_start(&d, NULL);
    for (unsigned i = 0; i < GUESTS; i++) {
        char name[8];
        snprintf(name, sizeof name, "g%u", i);
        play_join(&d, &g[i], name, "");
    }
    struct tn_sampling warm = {.temperature = 0.9f,
                               .top_k = 40,
                               .top_p = 0.95f,
                               .min_p = 0.05f,
                               .repeat_penalty = 1.1f,
                               .repeat_last = 32,
                               .seed = 7};
    for (unsigned i = 0; i < GUESTS * SLOTS; i++) {
        play_tokens(tokens, 5 + 17 * (i % SLOTS), i);
        play_native(&d, tokens, 5 + 17 * (i % SLOTS), MADE, i % 2 ? &warm : &greedy,
                    wanted[i / SLOTS][i % SLOTS]);
    }
    freeze(&d, true);
    for (unsigned i = 0; i < GUESTS * SLOTS; i++) {
        const struct tn_sampling *p = i % 2 ? &warm : &greedy;
        struct play_guest *to = &g[i / SLOTS];
        play_tokens(tokens, 5 + 17 * (i % SLOTS), i);
        struct hc_run run = play_run(to, i % SLOTS, tokens, 5 + 17 * (i % SLOTS), MADE);
        run.temperature = p->temperature;
        run.top_k = p->top_k;
        run.top_p = p->top_p;
        run.min_p = p->min_p;
        run.repeat_penalty = p->repeat_penalty;
        run.repeat_last = p->repeat_last;
        run.seed = p->seed;
        tags[i / SLOTS][i % SLOTS] = play_submit(to, i % SLOTS, &run);
    }
    freeze(&d, false);
    for (unsigned i = 0; i < GUESTS; i++) {
        for (unsigned s = 0; s < SLOTS; s++) {
            uint32_t count;
            assert_int_equal(play_end(&g[i], tags[i][s], made, MADE, &count, NULL), 0);
            assert_int_equal(count, MADE);
            assert_memory_equal(made, wanted[i][s], sizeof made);
        }
    }
    char *statistics = play_control(&d, "{\"op\":\"statistics\"}");
    assert_int_equal(play_number(statistics, "made_tokens"), SLOTS * MADE);
    assert_true(play_number(statistics, "mean_batch") >= 2);
    free(statistics);
    for (unsigned i = 0; i < GUESTS; i++) {
        play_leave(&g[i]);
    }
    play_stop(&d);
}

static void stops_masks_biases_and_cancelling(void **unused)
{
    (void)unused;
    struct play_daemon d;
    struct play_guest g;
    int32_t tokens[8], wanted[MADE], made[MADE];
    uint32_t count;
    uint64_t reason;
    play_start(&d, NULL);
    play_join(&d, &g, "a", "");
    play_tokens(tokens, 8, 3);
    play_native(&d, tokens, 8, MADE, &greedy, wanted);
    uint32_t at = 5;
    while (at < MADE - 1) { // a token that was not made before
        uint32_t i = 0;
        while (i < at && wanted[i] != wanted[at]) {
            i++;
        }
        if (i == at) {
            break;
        }
        at++;
    }
    struct hc_run run = play_run(&g, 0, tokens, 8, MADE);
    run.stop_count = 1;
    run.stops[0] = wanted[at];
    assert_int_equal(play_end(&g, play_submit(&g, 0, &run), made, MADE, &count, &reason), 0);
    assert_int_equal(reason, HC_REASON_STOP);
    assert_int_equal(count, at);
    // Only token 17 is allowed.
    uint8_t *mask = g.client.region + g.arguments_at + 32768;
    memset(mask, 0, 64);
    mask[17 / 8] = 1 << 17 % 8;
    run = play_run(&g, 0, tokens, 8, 3);
    run.mask = (struct hc_span){.buffer = g.arguments, .offset = 32768};
    assert_int_equal(play_end(&g, play_submit(&g, 0, &run), made, MADE, &count, NULL), 0);
    assert_true(count == 3 && made[0] == 17 && made[1] == 17 && made[2] == 17);
    mask[17 / 8] = 0; // nothing is
    assert_int_equal(play_end(&g, play_submit(&g, 0, &run), made, MADE, &count, NULL),
                     HC_BAD_VALUE);
    struct hc_bias *bias = (void *)mask;
    *bias = (struct hc_bias){.token = 9, .bias = 1000};
    run = play_run(&g, 0, tokens, 8, 2);
    run.biases = (struct hc_span){.buffer = g.arguments, .offset = 32768};
    run.bias_count = 1;
    assert_int_equal(play_end(&g, play_submit(&g, 0, &run), made, MADE, &count, NULL), 0);
    assert_true(count == 2 && made[0] == 9 && made[1] == 9);
    // Cancelled: ends soon, and what was made until then is right.
    play_tokens(tokens, 8, 3);
    run = play_run(&g, 0, tokens, 8, 200);
    uint64_t tag = play_submit(&g, 0, &run);
    int cancelled = play_call(&g, HC_CANCEL, tag, 0, 0).status;
    assert_true(cancelled == 0 || cancelled == -HC_NOT_FOUND); // it had ended
    int32_t many[256];
    int status = play_end(&g, tag, many, 256, &count, NULL);
    assert_true(status == HC_CANCELLED || (status == 0 && count == 200));
    assert_memory_equal(many, wanted, (count < MADE ? count : MADE) * sizeof *many);
    assert_int_equal(play_call(&g, HC_CANCEL, tag, 0, 0).status, -HC_NOT_FOUND);
    play_leave(&g);
    play_stop(&d);
}

// Logits on request have the bits of the native executor's, whatever the chunks.
static void logits_are_the_native_executors(void **unused)
{
    (void)unused;
    enum { LENGTH = 100, ROWS = 70 };
    struct play_daemon d;
    struct play_guest g;
    int32_t tokens[LENGTH], made[MADE], wanted_made[MADE];
    char error[256];
    struct tn_executor *x;
    static const uint32_t pages[4] = {0, 1, 2, 3};
    play_start(&d, NULL);
    play_join(&d, &g, "a", "");
    play_tokens(tokens, LENGTH, 2);
    size_t row = d.info.vocabulary;
    float *wanted = malloc(LENGTH * row * sizeof *wanted);
    const struct tn_executor_options o = {.isa = tn_isa_best(),
                                          .pool = &tn_pool_single,
                                          .max_tokens = 128,
                                          .max_sequences = 1,
                                          .kv_page_total = 4};
    assert_int_equal(tn_executor_open(d.tensor_model, &o, &x, error, sizeof error), 0);
    const struct tn_step_sequence s = {.tokens = tokens,
                                       .token_count = LENGTH,
                                       .kv_pages = pages,
                                       .kv_page_count = 4,
                                       .logits = wanted};
    assert_int_equal(tn_step(x, &s, 1), 0);
    struct hc_completion c = play_call(&g, HC_ALLOC, ROWS * row * sizeof(float), 0, 0);
    assert_int_equal(c.status, 0);
    play_native(&d, tokens, LENGTH, 5, &greedy, wanted_made);
    for (uint32_t most = 0; most <= 5; most += 5) {
        struct hc_run run = play_run(&g, 0, tokens, LENGTH, most);
        uint32_t count;
        run.logits = (struct hc_span){.buffer = (uint32_t)c.value[0]};
        run.logit_rows = ROWS;
        memset(g.client.region + c.value[1], 0, ROWS * row * sizeof(float));
        assert_int_equal(play_end(&g, play_submit(&g, 0, &run), made, MADE, &count, NULL), 0);
        assert_int_equal(count, most);
        assert_memory_equal(made, wanted_made, count * sizeof *made);
        assert_memory_equal(g.client.region + c.value[1], wanted + (LENGTH - ROWS) * row,
                            ROWS * row * sizeof(float));
    }
    tn_executor_close(x);
    free(wanted);
    play_leave(&g);
    play_stop(&d);
}

static void wait_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void the_worker_is_killed_and_comes_again(void **unused)
{
    (void)unused;
    struct play_daemon d;
    struct play_guest g;
    int32_t tokens[8], wanted[MADE], made[256];
    uint32_t count;
    play_start(&d, NULL);
    play_join(&d, &g, "a", "");
    play_tokens(tokens, 8, 1);
    play_native(&d, tokens, 8, MADE, &greedy, wanted);
    for (int round = 0; round < 3; round++) {
        struct hc_run run = play_run(&g, 0, tokens, 8, 200);
        uint64_t tag = play_submit(&g, 0, &run);
        uint32_t epoch = g.client.epoch;
        char *ping = play_control(&d, "{\"op\":\"ping\"}");
        pid_t worker = (pid_t)play_number(ping, "worker");
        free(ping);
        assert_int_equal(kill(worker, SIGKILL), 0);
        int status = play_end(&g, tag, made, 256, &count, NULL);
        assert_true(status == -1 || status == 0); // lost, or just in time
        while (hc_look(&g.client) == HC_LINK_UP && g.client.epoch == epoch) {
            wait_ms(1);
        }
        play_attach(&d, &g);
        assert_int_equal(g.client.epoch, epoch + 1);
        run = play_run(&g, 0, tokens, 8, MADE);
        assert_int_equal(play_end(&g, play_submit(&g, 0, &run), made, MADE, &count, NULL), 0);
        assert_memory_equal(made, wanted, sizeof wanted);
    }
    // The holder: nobody serves any more, and the guest is told.
    kill(d.holder, SIGKILL);
    waitpid(d.holder, NULL, 0);
    d.holder = 0;
    for (int i = 0; hc_look(&g.client) != HC_LINK_GONE; i++) {
        assert_true(i < 3000);
        wait_ms(1);
    }
    play_leave(&g);
    play_stop(&d);
}

static void a_worker_that_hangs_is_ended_by_the_watchdog(void **unused)
{
    (void)unused;
    static const char *const options[] = {"--watchdog", "1", NULL};
    struct play_daemon d;
    struct play_guest g;
    play_start(&d, options);
    play_join(&d, &g, "a", "");
    char *ping = play_control(&d, "{\"op\":\"ping\"}");
    assert_int_equal(kill((pid_t)play_number(ping, "worker"), SIGSTOP), 0);
    free(ping);
    for (int i = 0; hc_look(&g.client) == HC_LINK_UP; i++) {
        assert_true(i < 10000);
        wait_ms(1);
    }
    play_attach(&d, &g);
    assert_int_equal(g.client.epoch, 2);
    play_leave(&g);
    play_stop(&d);
}

static void a_small_guest_does_not_wait_behind_a_busy_one(void **unused)
{
    (void)unused;
    enum { LONG = 220 };
    struct play_daemon d;
    struct play_guest busy, small;
    int32_t tokens[LONG], made[256];
    uint32_t count;
    play_start(&d, NULL);
    play_join(&d, &busy, "busy", "");
    play_join(&d, &small, "small", "");
    play_tokens(tokens, LONG, 1);
    uint64_t tags[8];
    freeze(&d, true);
    for (unsigned s = 0; s < 8; s++) {
        struct hc_run run = play_run(&busy, s, tokens, LONG, 30);
        tags[s] = play_submit(&busy, s, &run);
    }
    struct hc_run run = play_run(&small, 0, tokens, 4, 20);
    uint64_t tag = play_submit(&small, 0, &run);
    freeze(&d, false);
    assert_int_equal(play_end(&small, tag, made, 256, &count, NULL), 0);
    assert_int_equal(count, 20);
    // The busy guest has not come to its end: the small one did not wait behind its prompts.
    char *statistics = play_control(&d, "{\"op\":\"statistics\"}");
    assert_non_null(statistics);
    const char *at = strstr(statistics, "\"busy\"");
    assert_non_null(at);
    assert_true(play_number(at, "runs") > 0);
    free(statistics);
    for (unsigned s = 0; s < 8; s++) {
        assert_int_equal(play_end(&busy, tags[s], made, 256, &count, NULL), 0);
    }
    play_leave(&busy);
    play_leave(&small);
    play_stop(&d);
}

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(the_answer_is_the_native_engines),
        cmocka_unit_test(guests_together_get_what_each_gets_alone),
        cmocka_unit_test(stops_masks_biases_and_cancelling),
        cmocka_unit_test(logits_are_the_native_executors),
        cmocka_unit_test(the_worker_is_killed_and_comes_again),
        cmocka_unit_test(a_worker_that_hangs_is_ended_by_the_watchdog),
        cmocka_unit_test(a_small_guest_does_not_wait_behind_a_busy_one),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return play_main(argc, argv, tests);
}
