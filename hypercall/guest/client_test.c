// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The client against hosts that are good, silent, restarted, gone, and that lie in every field.
// Links: hypercall/guest/client.c hypercall/guest/client_names.c
#include "hypercall/guest/fake_host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { REGION = HC_LEAST_REGION };
static const uint64_t none[6];

static void start(struct fake_host *h, struct hc_client *c, void (*act)(struct fake_host *h))
{
    fake_open(h, REGION);
    struct hc_port port = fake_port(h);
    assert_int_equal(hc_client_init(c, h->region, REGION, &port), 0);
    h->act = fake_good;
    assert_int_equal(hc_attach_wait(c, 100), 0);
    h->act = act;
}

static void a_region_of_no_host_is_no_host(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    struct hc_port port = fake_port(&h);
    for (int wrong = 0; wrong < 4; wrong++) {
        fake_open(&h, REGION);
        struct hc_host_page *p = fake_page(&h);
        p->magic ^= wrong == 0;
        p->version += wrong == 1;
        p->region_bytes *= wrong == 2 ? 2 : 1;
        if (wrong == 3) {
            memset(h.region, 0, REGION);
        }
        h.act = fake_good;
        assert_int_equal(hc_client_init(&c, h.region, REGION, &port), 0);
        assert_int_equal(hc_attach_wait(&c, 100), -ENODEV);
        assert_int_equal(fake_guest(&h)->generation, 0);
        free(h.region);
    }
    assert_int_equal(hc_client_init(&c, NULL, REGION - 4096, &port), -EINVAL);
    assert_int_equal(hc_client_init(&c, NULL, REGION / 2, &port), -EINVAL);
}

static void an_absent_host_is_waited_for_in_bounded_time(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    struct hc_port port = fake_port(&h);
    fake_open(&h, REGION);
    fake_page(&h)->state = HC_HOST_ABSENT;
    assert_int_equal(hc_client_init(&c, h.region, REGION, &port), 0);
    uint64_t begun = h.now;
    assert_int_equal(hc_attach_wait(&c, 300), -ETIMEDOUT);
    assert_in_range(h.now - begun, 300000000, 301000000);
    fake_page(&h)->state = HC_HOST_READY; // but it does not attach
    assert_int_equal(hc_attach_wait(&c, 300), -ETIMEDOUT);
    h.act = fake_good;
    assert_int_equal(hc_attach_wait(&c, 300), 0);
    free(h.region);
}

static void a_second_life_has_another_generation(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    start(&h, &c, fake_good);
    uint32_t generation = c.generation;
    struct hc_port port = fake_port(&h);
    assert_int_equal(hc_client_init(&c, h.region, REGION, &port), 0);
    assert_int_equal(hc_attach_wait(&c, 100), 0);
    assert_int_not_equal(c.generation, generation);
    free(h.region);
}

static void forgives(struct fake_host *h)
{
    if (fake_page(h)->attached != fake_guest(h)->generation) {
        hc_store(&fake_page(h)->state, HC_HOST_READY);
    }
    fake_good(h);
}

static void a_new_life_attaches_to_a_host_that_cut_the_old_one_off(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    start(&h, &c, fake_good);
    hc_store(&fake_page(&h)->state, HC_HOST_CUT_OFF);
    struct hc_port port = fake_port(&h);
    h.act = forgives;
    assert_int_equal(hc_client_init(&c, h.region, REGION, &port), 0);
    assert_int_equal(hc_attach_wait(&c, 100), 0);
    free(h.region);
}

static uint32_t machine_generation;
static uint32_t generation(void *ctx)
{
    (void)ctx;
    return machine_generation;
}

// The page of the saved region says that all is well, or that the host is gone for good: either is
// of the past.
static void a_restored_machine_attaches_anew(void **state)
{
    (void)state;
    for (int gone = 0; gone < 2; gone++) {
        struct fake_host h;
        struct hc_client c;
        uint64_t tag;
        fake_open(&h, REGION);
        struct hc_port port = fake_port(&h);
        port.generation = generation;
        h.act = fake_good;
        assert_int_equal(hc_client_init(&c, h.region, REGION, &port), 0);
        assert_int_equal(hc_attach_wait(&c, 100), 0);
        h.act = NULL;
        assert_int_equal(hc_submit(&c, HC_NOTHING, none, 0, &tag), 0);
        if (gone) {
            hc_store(&fake_page(&h)->state, HC_HOST_GONE);
            assert_int_equal(hc_look(&c), HC_LINK_GONE);
            hc_store(&fake_page(&h)->state, HC_HOST_READY);
            assert_int_equal(hc_look(&c), HC_LINK_GONE);
        }
        uint32_t before = c.generation;
        machine_generation++;
        assert_int_equal(hc_look(&c), HC_LINK_ATTACHING);
        assert_int_equal(c.flight_count, 0); // nothing of the old host's is waited for
        assert_int_not_equal(fake_guest(&h)->generation, before);
        assert_int_equal(hc_submit(&c, HC_NOTHING, none, 0, &tag), -ENOLINK);
        h.act = fake_good;
        assert_int_equal(hc_attach_wait(&c, 100), 0);
        struct hc_completion x;
        assert_int_equal(hc_call(&c, HC_NOTHING, none, 1000, &x), 0);
        free(h.region);
    }
}

static void calls_are_answered_in_any_number(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    start(&h, &c, fake_good);
    for (int i = 0; i < 5000; i++) { // around both rings
        struct hc_completion x;
        assert_int_equal(hc_call(&c, HC_NOTHING, none, 1000, &x), 0);
        assert_int_equal(x.status, HC_OK);
    }
    struct hc_completion x;
    assert_int_equal(hc_call(&c, HC_TENSOR, none, 1000, &x), 0);
    assert_int_equal(x.status, -HC_NOT_SUPPORTED);
    assert_int_equal(c.flight_count, 0);
    assert_int_equal(c.promised, 0);
    free(h.region);
}

static void an_awake_host_is_not_rung(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    uint64_t tag;
    start(&h, &c, NULL);
    unsigned before = h.kicks[HC_VECTOR_CALLS];
    fake_page(&h)->submission_needs_kick = 0;
    assert_int_equal(hc_submit(&c, HC_NOTHING, none, 0, &tag), 0);
    assert_int_equal(h.kicks[HC_VECTOR_CALLS], before);
    fake_page(&h)->submission_needs_kick = 1;
    assert_int_equal(hc_submit(&c, HC_NOTHING, none, 0, &tag), 0);
    assert_int_equal(h.kicks[HC_VECTOR_CALLS], before + 1);
    free(h.region);
}

static void sleeping_asks_for_the_doorbell_and_looks_again(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    uint64_t tag;
    start(&h, &c, NULL);
    fake_guest(&h)->completion_needs_kick = 0;
    assert_int_equal(hc_submit(&c, HC_NOTHING, none, 0, &tag), 0);
    assert_true(hc_sleep_begin(&c));
    assert_int_equal(fake_guest(&h)->completion_needs_kick, 1);
    hc_sleep_end(&c);
    assert_int_equal(fake_guest(&h)->completion_needs_kick, 0);
    fake_good(&h);
    assert_false(hc_sleep_begin(&c));
    assert_int_equal(fake_guest(&h)->completion_needs_kick, 0);
    free(h.region);
}

static void rings_are_never_overfilled(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    uint64_t tag;
    unsigned n = 0;
    start(&h, &c, NULL);
    while (hc_submit(&c, HC_NOTHING, none, 0, &tag) == 0) {
        n++;
    }
    assert_int_equal(n, HC_CALLS_IN_FLIGHT);
    fake_good(&h);
    assert_int_equal(hc_look(&c), HC_LINK_UP);
    // Completions that runs may still post leave no room for others.
    uint32_t most = HC_COMPLETION_COUNT - HC_COMPLETION_RESERVE;
    assert_int_equal(hc_submit(&c, HC_RUN, none, most, &tag), -EAGAIN);
    assert_int_equal(hc_submit(&c, HC_RUN, none, most - 1, &tag), 0);
    assert_int_equal(hc_submit(&c, HC_NOTHING, none, 0, &tag), -EAGAIN);
    fake_good(&h);
    assert_int_equal(hc_look(&c), HC_LINK_UP);
    assert_int_equal(hc_submit(&c, HC_NOTHING, none, 0, &tag), 0);
    free(h.region);
}

// A call in flight, and nobody answers.
static void silence_is_noticed(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    struct hc_completion x;
    start(&h, &c, NULL);
    uint64_t begun = h.now;
    assert_int_equal(hc_call(&c, HC_NOTHING, none, 10000, &x), -ENOLINK);
    assert_int_equal(c.loss, HC_LOSS_SILENT);
    assert_in_range(h.now - begun, 500000000, 510000000);
    assert_int_equal(c.flight_count, 0);
    // It goes on to look for it, and finds it when it answers again.
    assert_int_equal(hc_attach_wait(&c, 1000), -ETIMEDOUT);
    h.act = fake_good;
    assert_int_equal(hc_attach_wait(&c, 1000), 0);
    assert_int_equal(hc_call(&c, HC_NOTHING, none, 1000, &x), 0);
    assert_int_equal(c.losses, 1);
    free(h.region);
}

static void answers_questions_only(struct fake_host *h)
{
    struct hc_submission s;
    while (fake_take(h, &s)) {
        if (s.call == HC_NOTHING) {
            fake_end(h, &s, HC_OK);
        }
    }
}

static void a_long_call_is_not_silence(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    struct hc_completion x;
    start(&h, &c, answers_questions_only);
    assert_int_equal(hc_call(&c, HC_STATISTICS, none, 5000, &x), -ETIMEDOUT);
    assert_int_equal(c.link, HC_LINK_UP);
    free(h.region);
}

static void each_end_of_a_worker_is_told_apart(void **state)
{
    (void)state;
    static const struct {
        enum hc_host_state state;
        uint32_t epoch;
        enum hc_loss loss;
        enum hc_link link, later; // when it says READY again in the same epoch
    } way[] = {
        {HC_HOST_RESTARTING, 1, HC_LOSS_RESTARTING, HC_LINK_DOWN, HC_LINK_DOWN},
        {HC_HOST_READY, 2, HC_LOSS_RESTARTING, HC_LINK_DOWN, HC_LINK_UP},
        {HC_HOST_GONE, 1, HC_LOSS_GONE, HC_LINK_GONE, HC_LINK_GONE},
        {HC_HOST_CUT_OFF, 1, HC_LOSS_CUT_OFF, HC_LINK_DOWN, HC_LINK_DOWN},
        {77, 1, HC_LOSS_RESTARTING, HC_LINK_DOWN, HC_LINK_DOWN},
    };
    for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
        struct fake_host h;
        struct hc_client c;
        uint64_t tag;
        start(&h, &c, NULL);
        assert_int_equal(hc_submit(&c, HC_NOTHING, none, 0, &tag), 0);
        fake_page(&h)->reason = HC_BROKEN_RING;
        fake_page(&h)->epoch = way[i].epoch;
        hc_store(&fake_page(&h)->state, way[i].state);
        assert_int_equal(hc_look(&c), way[i].link);
        assert_int_equal(c.loss, way[i].loss);
        assert_int_equal(c.reason, way[i].state == HC_HOST_CUT_OFF ? HC_BROKEN_RING : 0);
        assert_int_equal(hc_submit(&c, HC_NOTHING, none, 0, &tag), -ENOLINK);
        h.act = fake_good;
        hc_store(&fake_page(&h)->state, HC_HOST_READY);
        hc_attach_wait(&c, 100);
        assert_int_equal(c.link, way[i].later);
        if (c.link == HC_LINK_DOWN) {
            fake_page(&h)->epoch = 9;
            assert_int_equal(hc_attach_wait(&c, 100), 0);
        }
        free(h.region);
    }
}

// ---- lies --------------------------------------------------------------------------------------

struct lie {
    const char *what;
    void (*tell)(struct fake_host *h, struct hc_completion *c);
    bool answered; // the completion is posted after that
};

static void tail_far(struct fake_host *h, struct hc_completion *c)
{
    fake_answer(h, c); // what lies there is good
    hc_store(&fake_page(h)->completion_tail, h->completion_tail + HC_COMPLETION_COUNT);
}
static void tail_back(struct fake_host *h, struct hc_completion *c)
{
    (void)c;
    hc_store(&fake_page(h)->completion_tail, h->completion_tail - 1);
}
static void head_far(struct fake_host *h, struct hc_completion *c)
{
    (void)c;
    hc_store(&fake_page(h)->submission_head, HC_SUBMISSION_COUNT + 50);
}
static void head_back(struct fake_host *h, struct hc_completion *c)
{
    (void)c;
    hc_store(&fake_page(h)->submission_head, UINT32_MAX);
}
static void tag_unknown(struct fake_host *h, struct hc_completion *c)
{
    (void)h;
    c->tag += 1000;
}
static void tag_zero(struct fake_host *h, struct hc_completion *c)
{
    (void)h;
    c->tag = 0;
}
static void call_other(struct fake_host *h, struct hc_completion *c)
{
    (void)h;
    c->call++;
}
static void kind_unknown(struct fake_host *h, struct hc_completion *c)
{
    (void)h;
    c->kind = 2;
}
static void kind_token(struct fake_host *h, struct hc_completion *c)
{
    (void)h;
    c->kind = HC_TOKEN;
}
static void status_positive(struct fake_host *h, struct hc_completion *c)
{
    (void)h;
    c->status = 1;
}
static void status_unknown(struct fake_host *h, struct hc_completion *c)
{
    (void)h;
    c->status = -HC_STATUS_COUNT;
}
static void status_least(struct fake_host *h, struct hc_completion *c)
{
    (void)h;
    c->status = INT32_MIN;
}

static void lies_lose_the_link_and_nothing_else(void **state)
{
    (void)state;
    static const struct lie lies[] = {
        {"tail far ahead", tail_far, false},      {"tail behind", tail_back, false},
        {"head ahead of tail", head_far, false},  {"head went back", head_back, false},
        {"unknown tag", tag_unknown, true},       {"tag 0", tag_zero, true},
        {"another call", call_other, true},       {"unknown kind", kind_unknown, true},
        {"a token of no run", kind_token, true},  {"positive status", status_positive, true},
        {"unknown status", status_unknown, true}, {"least status", status_least, true},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct fake_host h;
        struct hc_client c;
        struct hc_submission s;
        uint64_t tag;
        start(&h, &c, fake_good);
        struct hc_completion x;
        // Up to where the ring seems full: then what the host has taken is looked at.
        for (int n = 1; n < HC_SUBMISSION_COUNT; n++) {
            assert_int_equal(hc_call(&c, HC_NOTHING, none, 1000, &x), 0);
        }
        h.act = NULL;
        assert_int_equal(hc_submit(&c, HC_NOTHING, none, 0, &tag), 0);
        assert_true(fake_take(&h, &s));
        x = (struct hc_completion){.tag = s.tag, .call = s.call};
        uint64_t answers = c.answers;
        lies[i].tell(&h, &x);
        if (lies[i].answered) {
            fake_answer(&h, &x);
        }
        hc_look(&c);
        hc_submit(&c, HC_NOTHING, none, 0, &tag);
        if (c.link != HC_LINK_DOWN || c.loss != HC_LOSS_NONSENSE) {
            fail_msg("%s: %s, %s", lies[i].what, hc_link_name(c.link), hc_loss_name(c.loss));
        }
        assert_int_equal(c.answers, answers);
        free(h.region);
    }
}

static unsigned delivered;
static void count_delivered(void *ctx, const struct hc_completion *c)
{
    (void)ctx;
    (void)c;
    delivered++;
}

static void a_run_posts_no_more_tokens_than_it_may(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    struct hc_submission s;
    uint64_t tag;
    start(&h, &c, NULL);
    c.deliver = count_delivered;
    delivered = 0;
    assert_int_equal(hc_submit(&c, HC_RUN, none, 3, &tag), 0);
    assert_true(fake_take(&h, &s));
    struct hc_completion x = {.tag = s.tag, .call = s.call, .kind = HC_TOKEN};
    for (int i = 0; i < 4; i++) {
        fake_answer(&h, &x);
    }
    assert_int_equal(hc_look(&c), HC_LINK_DOWN);
    assert_int_equal(c.loss, HC_LOSS_NONSENSE);
    assert_int_equal(delivered, 3);
    free(h.region);
}

static void the_arena_has_bounds(void **state)
{
    (void)state;
    struct fake_host h;
    struct hc_client c;
    start(&h, &c, NULL);
    assert_true(hc_in_arena(&c, HC_ARENA, REGION - HC_ARENA));
    assert_true(hc_in_arena(&c, REGION, 0));
    assert_false(hc_in_arena(&c, HC_ARENA - 1, 1));
    assert_false(hc_in_arena(&c, HC_ARENA, REGION - HC_ARENA + 1));
    assert_false(hc_in_arena(&c, REGION + 1, 0));
    assert_false(hc_in_arena(&c, HC_ARENA, UINT64_MAX));
    assert_false(hc_in_arena(&c, UINT64_MAX, 2));
    free(h.region);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_of_no_host_is_no_host),
        cmocka_unit_test(an_absent_host_is_waited_for_in_bounded_time),
        cmocka_unit_test(a_second_life_has_another_generation),
        cmocka_unit_test(a_new_life_attaches_to_a_host_that_cut_the_old_one_off),
        cmocka_unit_test(a_restored_machine_attaches_anew),
        cmocka_unit_test(calls_are_answered_in_any_number),
        cmocka_unit_test(an_awake_host_is_not_rung),
        cmocka_unit_test(sleeping_asks_for_the_doorbell_and_looks_again),
        cmocka_unit_test(rings_are_never_overfilled),
        cmocka_unit_test(silence_is_noticed),
        cmocka_unit_test(a_long_call_is_not_silence),
        cmocka_unit_test(each_end_of_a_worker_is_told_apart),
        cmocka_unit_test(lies_lose_the_link_and_nothing_else),
        cmocka_unit_test(a_run_posts_no_more_tokens_than_it_may),
        cmocka_unit_test(the_arena_has_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
