// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// An honest guest beside a hostile one, for tests.
#include "hypercall/host/tensord/stage_host.h"

static const struct tn_sampling greedy = {.top_p = 1, .repeat_penalty = 1};

static void *be_honest(void *arg)
{
    struct stage *s = arg;
    while (!hc_load(&s->stop)) {
        int32_t made[MADE];
        uint32_t count = 0;
        struct hc_run run = play_run(&s->honest, 0, s->tokens, PROMPT, MADE);
        int status = play_end(&s->honest, play_submit(&s->honest, 0, &run), made, MADE, &count, 0);
        bool right = status == 0 && count == MADE && memcmp(made, s->wanted, sizeof made) == 0;
        hc_store(&s->wrong, s->wrong + !right);
        hc_store(&s->rounds, s->rounds + 1);
        s->honest.count = 0; // its events were looked at
        if (!right) {
            break;
        }
    }
    return NULL;
}

static long worker_of(const struct play_daemon *d)
{
    char *ping = play_control(d, "{\"op\":\"ping\"}");
    long worker = play_number(ping, "worker");
    free(ping);
    return worker;
}

void raise_stage(struct stage *s, const char *policy)
{
    memset(s, 0, sizeof *s);
    play_start(&s->d, NULL);
    play_join(&s->d, &s->honest, "honest", "");
    raw_join(&s->d, &s->bad, "bad", policy);
    s->worker = worker_of(&s->d);
    assert_true(s->worker > 0);
    play_tokens(s->tokens, PROMPT, 7);
    assert_int_equal(play_native(&s->d, s->tokens, PROMPT, MADE, &greedy, s->wanted), MADE);
    assert_int_equal(pthread_create(&s->thread, NULL, be_honest, s), 0);
}

bool went_on(const struct stage *s, uint32_t since, uint32_t rounds)
{
    return hc_load(&s->rounds) - since >= rounds || hc_load(&s->wrong);
}

static void wait_for_rounds(struct stage *s, uint32_t rounds)
{
    uint32_t since = hc_load(&s->rounds);
    for (int i = 0; !went_on(s, since, rounds); i++) {
        assert_true(i < 60000);
        raw_pause_ms(1);
    }
}

void lower_stage(struct stage *s)
{
    wait_for_rounds(s, 2);
    assert_int_equal(worker_of(&s->d), s->worker);
    hc_store(&s->stop, 1);
    pthread_join(s->thread, NULL);
    assert_int_equal(s->wrong, 0);
    play_leave(&s->honest);
    raw_leave(&s->bad);
    play_stop(&s->d);
}

void is_served_well(struct stage *s)
{
    struct raw_guest *g = &s->bad;
    raw_settle(g);
    raw_run(g, 0, 9, 3);
    assert_int_equal(raw_end(g, raw_call(g, HC_RUN, g->arguments, 0, 0), NULL), 0);
}
