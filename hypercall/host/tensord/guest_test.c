// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// How much of the worker a guest gets that asks for too much: attaches, doorbells, time, lines of
// the audit log, questions to the holder; and a sequence that fails fails alone.
//
// Links: @tensor tensor/core/pool_host.c tensor/model/synthetic_host.c
// Links: tensor/model/synthetic_vocabulary_host.c @tensord hypercall/host/tensord/still_host.c
// Libs: -lmbedcrypto -lseccomp -lmicrohttpd
#include "hypercall/host/tensord/still_host.h"
#include "tensor/model/synthetic.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

// The window in which what a guest takes is counted: no other one begins soon.
static void begin_long_window(struct still_guest *g)
{
    g->guest->window_began = now_ns() + 1000000000000;
    g->guest->window_attaches = g->guest->window_calls = 0;
    g->guest->window_ns = 0;
}

static void serve_all(struct still_guest *g)
{
    for (int i = 0; i < 1000 && guest_serve(g->guest, 32); i++) {
    }
}

static void attaching_is_limited(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct still_guest *g = still_come(s, &still_policy);
    uint32_t served = 0;
    begin_long_window(g);
    for (int i = 0; i < 100; i++) {
        still_attach(g);
        guest_serve(g->guest, 32);
        served += hc_load(&g->host->attached) == g->page->generation;
    }
    assert_in_range(served, 1, 4);
    assert_false(guest_has_news(g->guest)); // nobody spins on it
    g->guest->window_began = 0;
    guest_serve(g->guest, 32);
    assert_int_equal(hc_load(&g->host->attached), g->page->generation);
    still_close(s);
}

// A restored machine brings the page that an older host wrote.
static void an_attach_writes_the_page_anew(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct still_guest *g = still_come(s, &still_policy);
    struct hc_host_page before;
    memcpy(&before, g->host, sizeof before);
    memset(g->host, 0x5a, sizeof *g->host);
    g->page->generation = 6; // as the saved guest's, which the worker may see before that runs
    guest_serve(g->guest, 32);
    memset(g->host, 0x5a, sizeof *g->host);
    still_attach(g);
    guest_serve(g->guest, 32);
    assert_int_equal(g->host->magic, HC_MAGIC);
    assert_int_equal(g->host->version, HC_ABI_VERSION);
    assert_int_equal(g->host->epoch, before.epoch);
    assert_int_equal(g->host->region_bytes, before.region_bytes);
    assert_int_equal(g->host->features, before.features);
    assert_int_equal(g->host->state, HC_HOST_READY);
    assert_int_equal(g->host->attached, g->page->generation);
    assert_int_equal(g->host->submission_head, 0);
    assert_int_equal(g->host->completion_tail, 0);
    assert_int_equal(g->host->submission_needs_kick, 1);
    still_close(s);
}

static int rings(struct still *s, struct still_guest *g, int fd)
{
    struct epoll_event e[4];
    const uint64_t one = 1;
    assert_int_equal(write(fd, &one, sizeof one), sizeof one);
    int n = epoll_wait(s->w.epoll, e, 4, 0);
    for (int i = 0; i < n && g; i++) {
        guest_rang(g->guest);
    }
    return n;
}

static void doorbells_without_news_are_heard_so_often(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct still_guest *g = still_come(s, &still_policy), *other = still_come(s, &still_policy);
    int heard = 0, bell = g->rings[HC_VECTOR_CALLS];
    still_attach(g);
    serve_all(g);
    for (int i = 0; i < 1000; i++) { // each ring is an event, though nobody reads the counter
        still_submit(g, HC_NOTHING, 0, 0);
        assert_int_equal(rings(s, g, bell), 1);
        serve_all(g);
        assert_int_equal(still_answer(g, NULL), 0);
    }
    begin_long_window(g);
    g->guest->idle_rings = 0;
    for (int i = 0; i < 1000; i++) {
        heard += rings(s, g, bell);
    }
    assert_in_range(heard, 50, 200);
    assert_true(g->guest->quiet); // the io thread looks at it by itself from time to time
    assert_int_equal(rings(s, other, other->rings[HC_VECTOR_CALLS]), 1);
    g->guest->window_began = 0;
    guest_serve(g->guest, 32);
    assert_false(g->guest->quiet);
    assert_int_equal(rings(s, g, bell), 1);
    still_close(s);
}

// The guest, or a copy of QEMU, holds the eventfd still.
static void doorbells_of_a_guest_that_has_gone_are_not_heard(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct still_guest *g = still_come(s, &still_policy);
    assert_int_equal(rings(s, g, g->rings[0]), 1);
    s->w.guest_count = 0;
    guest_close(g->guest);
    assert_int_equal(rings(s, NULL, g->rings[0]), 0);
    assert_int_equal(rings(s, NULL, g->rings[1]), 0);
    still_close(s);
}

// The mode of an eventfd is its other holder's to change, and so is its counter.
static void a_full_doorbell_that_would_wait_is_left_alone(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct still_guest *g = still_come(s, &still_policy);
    const uint64_t full = UINT64_MAX - 1;
    for (int i = 0; i < HC_VECTOR_COUNT; i++) {
        int bell = g->rings[HC_VECTOR_COUNT + i];
        uint64_t before;
        ssize_t n = read(bell, &before, sizeof before); // rung for the state
        (void)n;
        assert_int_equal(write(bell, &full, sizeof full), sizeof full);
        assert_int_equal(fcntl(bell, F_SETFL, 0), 0);
    }
    alarm(20); // it would be a wait for ever
    still_attach(g);
    g->page->completion_needs_kick = 1;
    serve_all(g);
    still_submit(g, HC_NOTHING, 0, 0);
    serve_all(g);
    alarm(0);
    assert_int_equal(still_answer(g, NULL), 0);
    still_close(s);
}

static void time_of_the_io_thread_is_shared(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct still_guest *g = still_come(s, &still_policy), *other = still_come(s, &still_policy);
    still_attach(g);
    serve_all(g);
    begin_long_window(g);
    g->guest->window_ns = 9000000;
    still_submit(g, HC_NOTHING, 0, 0); // alone it may go on
    serve_all(g);
    assert_int_equal(still_answer(g, NULL), 0);
    still_attach(other);
    serve_all(other);
    still_submit(g, HC_NOTHING, 0, 0);
    serve_all(g);
    assert_int_equal(still_answer(g, NULL), -1);
    assert_true(g->guest->blocked);
    g->guest->window_began = 0; // the next window
    serve_all(g);
    assert_int_equal(still_answer(g, NULL), 0);
    still_close(s);
}

static void the_audit_log_is_not_flooded(void **unused)
{
    (void)unused;
    enum { CALLS = 500, TEXT = 1 << 18 };
    struct still *s = still_open();
    struct still_guest *g = still_come(s, &still_policy);
    char *text = calloc(1, TEXT);
    unsigned lines = 0;
    assert_non_null(text);
    s->w.options.audit = memfd_create("audit", MFD_CLOEXEC);
    still_attach(g);
    serve_all(g);
    for (int i = 0; i < CALLS; i++) {
        still_submit(g, 999, 0, 0);
        serve_all(g);
        assert_int_equal(still_answer(g, NULL), HC_BAD_CALL);
    }
    assert_int_equal(g->guest->statistics.refused, CALLS);
    g->guest->audit_second -= 100; // later there is one more
    audit(&s->w, g->guest, "event", "detail");
    assert_true(pread(s->w.options.audit, text, TEXT - 1, 0) > 0);
    for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
        *end = 0;
        lines++;
        if (!end[1]) {
            const char *left_out = strstr(at, "\"left_out\":");
            assert_non_null(left_out);
            assert_in_range(strtol(left_out + 11, NULL, 10), CALLS - 60, CALLS);
        }
    }
    assert_in_range(lines, 10, 60);
    close(s->w.options.audit);
    s->w.options.audit = -1;
    free(text);
    still_close(s);
}

static void the_holder_is_asked_so_often(void **unused)
{
    (void)unused;
    struct still *s = still_open();
    struct still_guest *g = still_come(s, &still_policy);
    struct link_message m;
    int fds[LINK_MOST_FDS];
    size_t count;
    char *text;
    unsigned asked = 0, busy = 0;
    g->guest->asks_at = now_ns() + 1000000000000; // none is earned meanwhile
    for (int i = 0; i < 50; i++) { // attaching anew forgets what was asked, but not how often
        uint64_t value[2];
        g->guest->window_attaches = 0;
        still_attach(g);
        serve_all(g);
        still_submit(g, HC_ALLOC, 4096, 0);
        serve_all(g);
        assert_int_equal(still_answer(g, value), 0);
        struct hc_model_open *o = (void *)(g->region + value[1]);
        *o = (struct hc_model_open){.identity.sha256 = {(uint8_t)i, 1}};
        for (int n = 0; n < 4; n++) {
            o->identity.sha256[2]++;
            still_submit(g, HC_MODEL_OPEN, value[0], 0);
            serve_all(g);
            busy += still_answer(g, NULL) == HC_BUSY;
        }
    }
    while (link_receive(s->holder, &m, &text, fds, &count) > 0) {
        free(text);
        asked += m.kind == LINK_WANT_WEIGHTS;
    }
    assert_int_equal(asked, 16);
    assert_int_equal(asked + busy, 200);
    still_close(s);
}

// Checked as everything is, a sequence should never be refused; if one is, it is the only one.
static void a_sequence_that_fails_fails_alone(void **unused)
{
    (void)unused;
    enum { PAGES = 4 };
    struct still *s = still_open();
    struct still_guest *g[2];
    struct synthetic_options o;
    struct weights *x = &s->w.weights[s->w.weights_count++];
    char error[256];
    size_t bytes;
    assert_true(synthetic_default("llama", TN_Q8_0, &o));
    void *file = synthetic_model(&o, &bytes);
    assert_int_equal(tn_model_open(file, bytes, &x->model, error, sizeof error), 0);
    tn_model_info(x->model, &x->info);
    x->state = WEIGHTS_OPEN;
    for (int i = 0; i < 2; i++) {
        uint64_t value[2], at;
        g[i] = still_come(s, &still_policy);
        still_attach(g[i]);
        serve_all(g[i]);
        still_submit(g[i], HC_ALLOC, 1 << 19, 0);
        serve_all(g[i]);
        assert_int_equal(still_answer(g[i], value), 0);
        uint32_t buffer = (uint32_t)value[0];
        at = value[1];
        struct hc_model_open *open = (void *)(g[i]->region + at);
        *open = (struct hc_model_open){.kv_type = TN_F32};
        still_submit(g[i], HC_MODEL_OPEN, buffer, 0);
        serve_all(g[i]);
        assert_int_equal(still_answer(g[i], value), 0);
        assert_true(open->kv_page_bytes * PAGES <= (1 << 19) - 8192);
        struct hc_run *r = (void *)(g[i]->region + at);
        uint32_t *pages = (void *)(r + 1);
        memset(r, 0, sizeof *r + PAGES * sizeof *pages);
        for (uint32_t p = 0; p < PAGES; p++) {
            pages[p] = p;
        }
        r->model = (uint32_t)value[0];
        r->kv = (struct hc_span){.buffer = buffer, .offset = 8192};
        r->kv_page_total = r->kv_page_count = PAGES;
        r->kv_pages = (struct hc_span){.buffer = buffer, .offset = sizeof *r};
        r->tokens = (struct hc_span){.buffer = buffer, .offset = 1024};
        r->token_count = 5;
        r->most_tokens = 3;
        r->top_p = r->repeat_penalty = 1;
        still_submit(g[i], HC_RUN, buffer, 0);
        serve_all(g[i]);
    }
    assert_int_equal(g[0]->guest->run_count + g[1]->guest->run_count, 2);
    g[0]->guest->runs->pages[0] = 1000000; // our own mistake, played
    for (int i = 0; i < 5; i++) {
        struct engine *e;
        struct pass p;
        if (compose_pass(&s->w, &e)) {
            pass_compute(e, &p);
            pass_deliver(&s->w, e, &p);
        }
    }
    assert_int_equal(still_answer(g[0], NULL), HC_FAILED);
    assert_int_equal(still_answer(g[1], NULL), 0);
    assert_int_equal(g[1]->guest->statistics.made_tokens, 3);
    struct engine *e = s->w.engines[0];
    struct tn_model *model = x->model;
    still_close(s);
    tn_executor_close(e->executor);
    free(e->logits);
    free(e);
    tn_model_close(model);
    free(file);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(attaching_is_limited),
        cmocka_unit_test(an_attach_writes_the_page_anew),
        cmocka_unit_test(doorbells_without_news_are_heard_so_often),
        cmocka_unit_test(doorbells_of_a_guest_that_has_gone_are_not_heard),
        cmocka_unit_test(a_full_doorbell_that_would_wait_is_left_alone),
        cmocka_unit_test(time_of_the_io_thread_is_shared),
        cmocka_unit_test(the_audit_log_is_not_flooded),
        cmocka_unit_test(the_holder_is_asked_so_often),
        cmocka_unit_test(a_sequence_that_fails_fails_alone),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
