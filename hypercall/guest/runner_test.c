// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The engine over runner, client and rings, against a host in the same process: the text is the one
// that the engine makes by itself, whatever happens to the host.
//
// Links: @tensor hypercall/guest/client.c hypercall/guest/client_names.c hypercall/guest/runner.c
// Links: hypercall/guest/runner_setup.c hypercall/guest/runner_measure.c hypercall/guest/identity.c
#include "hypercall/guest/fake_worker.h"

#include <errno.h>

enum { REQUESTS = 6, PAGES = 40, CONTEXT = 224, REGION = 4 << 20 };

static char said[4096];
static void say(void *ctx, bool problem, const char *line)
{
    (void)ctx;
    (void)problem;
    size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%s\n", line);
}

struct machine {
    struct worker worker;
    struct test_model model;
    struct hc_client client;
    struct hc_runner *runner;
    struct tn_executor *executor;
    struct infer_engine *engine;
};
static struct machine m;
static struct answer alone[REQUESTS], a[REQUESTS];

static struct hc_runner_options runner_options(void)
{
    struct tn_model_info info;
    tn_model_info(m.model.model, &info);
    struct hc_runner_options o = {.kv_type = TN_F32,
                                  .kv_page_total = PAGES,
                                  .kv_page_bytes = tn_kv_page_bytes(m.model.model, TN_F32),
                                  .vocabulary = info.vocabulary,
                                  .layers = info.layers,
                                  .kv_heads = info.kv_heads,
                                  .head_dim = info.head_dim,
                                  .context = CONTEXT,
                                  .runs = 8,
                                  .most_tokens = 20,
                                  .say = say};
    assert_int_equal(
        hc_identity_parse("sha256:ab00000000000000000000000000000000000000000000000000000000000000",
                          &o.identity),
        0);
    return o;
}

static void open_model(void)
{
    struct tiny_options o = tiny_default(TN_Q8_0);
    memset(&m, 0, sizeof m);
    said[0] = 0;
    test_model_open(&m.model, &o, 1, 4, 24, TN_F32);
    worker_open(&m.worker, &m.model, REGION);
    struct hc_port port = fake_port(&m.worker.host);
    assert_int_equal(hc_client_init(&m.client, m.worker.host.region, REGION, &port), 0);
}

static void open_engine(struct infer_engine **e, void *kv, const struct infer_runner *runner)
{
    char error[200];
    struct tn_executor_options x = {.isa = tn_isa_best(),
                                    .pool = &tn_pool_single,
                                    .max_tokens = 24,
                                    .max_sequences = 4,
                                    .kv_page_total = PAGES,
                                    .kv_memory = kv,
                                    .kv_type = TN_F32};
    struct infer_options o = {.slots = 4, .queue = 16, .context = CONTEXT, .runner = runner};
    assert_int_equal(tn_executor_open(m.model.model, &x, &m.executor, error, sizeof error), 0);
    assert_int_equal(infer_open(m.model.model, m.executor, &o, e), 0);
}

static void open_machine(void)
{
    char error[200] = "";
    open_model();
    struct hc_runner_options o = runner_options();
    int rc = hc_runner_open(&m.client, &o, 1000, &m.runner, error, sizeof error);
    if (rc) {
        fail_msg("%d: %s", rc, error);
    }
    open_engine(&m.engine, hc_runner_kv(m.runner), hc_runner_infer(m.runner));
}

static void close_machine(void)
{
    infer_close(m.engine);
    hc_runner_close(m.runner);
    tn_executor_close(m.executor);
    worker_close(&m.worker);
    test_model_close(&m.model);
}

static void submit_all(struct infer_engine *e, struct answer *out)
{
    for (uint32_t n = 0; n < REQUESTS; n++) {
        int32_t ids[100];
        uint32_t count = 3 + 29 * n % 90;
        for (uint32_t i = 0; i < count; i++) {
            ids[i] = (int32_t)((n * 71 + i * 19 + i / 7 + 3) % 288);
        }
        struct tn_sampling s = tn_sampling_default();
        s.seed = n;
        s.temperature = n % 2 ? 0.9f : 0;
        s.repeat_penalty = n % 3 ? 1 : 1.3f;
        submit(e, ids, count, 20 + 17 * n % 90, &s, &out[n]);
    }
}

static int make_answers(void **unused)
{
    (void)unused;
    open_model();
    open_engine(&m.engine, NULL, NULL);
    submit_all(m.engine, alone);
    run_all(m.engine);
    close_machine();
    return 0;
}

// As an owner does: sleeps when there is nothing to compute here.
static void nap(void)
{
    if (!infer_waits(m.engine)) {
        m.worker.host.now += 1000000;
        worker_act(&m.worker.host);
    } else if (hc_sleep_begin(&m.client)) {
        struct hc_port *p = &m.client.port;
        uint64_t now = p->now_ns(p->ctx);
        worker_act(&m.worker.host);
        m.worker.host.now += m.worker.silent ? hc_sleep_deadline(&m.client, now) - now : 1000000;
        hc_sleep_end(&m.client);
    }
}

static struct infer_stats answer_all(void (*disturb)(int step))
{
    struct infer_stats s;
    submit_all(m.engine, a);
    for (int steps = 0; infer_step(m.engine); steps++) {
        assert_true(steps < 20000);
        nap();
        if (disturb) {
            disturb(steps);
        }
    }
    for (uint32_t n = 0; n < REQUESTS; n++) {
        assert_same_answer(&a[n], &alone[n]);
    }
    for (int i = 0; i < 10; i++) {
        infer_step(m.engine);
        m.worker.silent = false;
        worker_act(&m.worker.host);
    }
    infer_get_stats(m.engine, &s);
    if (m.client.link == HC_LINK_UP) {
        assert_int_equal(s.kv_pages_used, 0);
    }
    return s;
}

static void the_hosts_text_is_the_guests(void **unused)
{
    (void)unused;
    open_machine();
    for (int round = 0; round < 3; round++) {
        struct infer_stats s = answer_all(NULL);
        assert_int_equal(s.remote_tokens, s.made_tokens);
        assert_int_equal(s.steps, 0);
    }
    assert_string_equal(said, "");
    close_machine();
}

static void go_silent(int step)
{
    m.worker.silent = step % 50 > 25;
}
static void a_silent_host_is_left_and_found_again(void **unused)
{
    (void)unused;
    open_machine();
    struct infer_stats s = answer_all(go_silent);
    assert_true(s.lost_runs > 0);
    assert_true(s.steps > 0);
    assert_true(s.remote_tokens > 0);
    assert_non_null(strstr(said, "the host does not answer"));
    assert_non_null(strstr(said, "the host computes again (epoch 1)"));
    close_machine();
}

static void restart(int step)
{
    struct hc_host_page *p = fake_page(&m.worker.host);
    if (step % 30 == 20) {
        hc_store(&p->state, HC_HOST_RESTARTING);
        m.worker.silent = true;
    } else if (step % 30 == 25) {
        p->epoch++;
        hc_store(&p->state, HC_HOST_READY);
        m.worker.silent = false;
    }
}
static void another_worker_goes_on(void **unused)
{
    (void)unused;
    open_machine();
    struct infer_stats s = answer_all(restart);
    assert_true(s.lost_runs > 0);
    assert_true(s.remote_tokens > 0);
    assert_non_null(strstr(said, "the host computes again (epoch 2)"));
    close_machine();
}

static void end_for_good(int step)
{
    if (step == 20) {
        hc_store(&fake_page(&m.worker.host)->state, HC_HOST_GONE);
    }
}
static void a_host_that_is_gone_is_gone(void **unused)
{
    (void)unused;
    open_machine();
    struct infer_stats s = answer_all(end_for_good);
    assert_true(s.steps > 0);
    assert_int_equal(m.client.link, HC_LINK_GONE);
    assert_non_null(strstr(said, "by itself from now on"));
    assert_null(strstr(strstr(said, "from now on") + 1, "from now on"));
    close_machine();
}

static void cut_off(int step)
{
    struct hc_host_page *p = fake_page(&m.worker.host);
    if (step == 20) {
        p->reason = HC_BAD_RANGE;
        hc_store(&p->state, HC_HOST_CUT_OFF);
        m.worker.silent = true;
    }
}
static void being_cut_off_is_said(void **unused)
{
    (void)unused;
    open_machine();
    struct infer_stats s = answer_all(cut_off);
    assert_true(s.steps > 0);
    assert_non_null(strstr(said, "cut this machine off (bad range)"));
    assert_int_equal(m.client.link, HC_LINK_DOWN);
    fake_page(&m.worker.host)->epoch++;
    hc_store(&fake_page(&m.worker.host)->state, HC_HOST_READY);
    s = answer_all(NULL);
    assert_int_equal(m.client.link, HC_LINK_UP);
    close_machine();
}

static void lie(int step)
{
    if (step % 10 == 9) { // a token of no vocabulary
        struct hc_submission s = {.tag = 1, .call = HC_RUN};
        for (int i = 0; i < WORKER_RUNS; i++) {
            if (m.worker.runs[i].busy) {
                s.tag = m.worker.runs[i].call.tag;
                worker_post(&m.worker, &s, HC_TOKEN, 0, 288, m.worker.runs[i].made + 1);
                break;
            }
        }
    }
}
static void a_token_of_no_vocabulary_ends_trust(void **unused)
{
    (void)unused;
    open_machine();
    answer_all(lie);
    assert_int_equal(m.client.loss, HC_LOSS_NONSENSE);
    assert_non_null(strstr(said, "answers what cannot be"));
    close_machine();
}

static void refuse_some(int step)
{
    static const uint32_t status[] = {0, 0, HC_QUOTA, 0, HC_FAILED, 0};
    m.worker.run_status = status[step / 7 % 6];
}
static void refused_runs_are_computed_here(void **unused)
{
    (void)unused;
    open_machine();
    struct infer_stats s = answer_all(refuse_some);
    assert_true(s.steps > 0);
    assert_non_null(strstr(said, "the host refused a run: host failed"));
    close_machine();
}

static void a_buffer_that_moved_is_not_used(void **unused)
{
    (void)unused;
    open_machine();
    m.worker.offset += 4096;
    fake_page(&m.worker.host)->epoch++;
    struct infer_stats s = answer_all(NULL);
    assert_int_equal(s.remote_tokens, 0);
    assert_non_null(strstr(said, "elsewhere than before"));
    close_machine();
}

static void expect_refusal(int rc, const char *words)
{
    char error[200] = "";
    struct hc_runner_options o = runner_options();
    assert_int_equal(hc_runner_open(&m.client, &o, 300, &m.runner, error, sizeof error), rc);
    if (!strstr(error, words)) {
        fail_msg("'%s' is not in '%s'", words, error);
    }
}

static void what_does_not_fit_is_refused_in_words(void **unused)
{
    (void)unused;
    for (int way = 0; way < 9; way++) {
        open_model();
        struct hc_model_open *f = &m.worker.facts;
        f->vocabulary += way == 0;
        f->layers += way == 1;
        f->kv_page_bytes += way == 2;
        f->head_dim += way == 3;
        f->context -= way == 4 ? f->context - 32 : 0;
        m.worker.alloc_refused = way == 5;
        m.worker.silent = way == 6;
        m.worker.offset = way == 7 ? REGION - 4096 : way == 8 ? 4096 : WORKER_OFFSET;
        static const char *const words[] = {"another one than ours",
                                            "another one than ours",
                                            "another one than ours",
                                            "another one than ours",
                                            "context",
                                            "no memory",
                                            "no host serves",
                                            "no host serves",
                                            "no host serves"};
        expect_refusal(way < 6 ? -ENOTSUP : -ETIMEDOUT, words[way]);
        worker_close(&m.worker);
        test_model_close(&m.model);
    }
}

static void the_hosts_time_for_a_token_is_measured(void **unused)
{
    (void)unused;
    open_machine();
    uint64_t ns = 0;
    assert_int_equal(hc_runner_measure(m.runner, 5000, &ns), 0);
    assert_int_not_equal(ns, 0);
    m.worker.silent = true;
    int rc = hc_runner_measure(m.runner, 5000, &ns);
    assert_int_equal(rc, -ENOLINK);
    close_machine();
}

static void identities_have_one_form(void **unused)
{
    (void)unused;
#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
    struct hc_identity id;
    assert_int_equal(hc_identity_parse("sha256:" HEX, &id), 0);
    assert_int_equal(id.sha256[1], 0x11);
    assert_int_equal(id.sha256[31], 0xff);
    assert_int_equal(id.packing, 0);
    assert_int_equal(hc_identity_parse("sha256:" HEX "+packed12", &id), 0);
    assert_int_equal(id.packing, 12);
    static const char *const bad[] = {"",
                                      "sha256:",
                                      "md5:" HEX,
                                      HEX,
                                      "sha256:" HEX "0",
                                      "sha256:" HEX "+packed",
                                      "sha256:" HEX "+packed0",
                                      "sha256:" HEX "+packed1x",
                                      "sha256:" HEX "+packed12345678",
                                      "sha256:0g112233445566778899aabbccddeeff",
                                      "sha256:001"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(hc_identity_parse(bad[i], &id), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hosts_text_is_the_guests),
        cmocka_unit_test(a_silent_host_is_left_and_found_again),
        cmocka_unit_test(another_worker_goes_on),
        cmocka_unit_test(a_host_that_is_gone_is_gone),
        cmocka_unit_test(being_cut_off_is_said),
        cmocka_unit_test(a_token_of_no_vocabulary_ends_trust),
        cmocka_unit_test(refused_runs_are_computed_here),
        cmocka_unit_test(a_buffer_that_moved_is_not_used),
        cmocka_unit_test(what_does_not_fit_is_refused_in_words),
        cmocka_unit_test(the_hosts_time_for_a_token_is_measured),
        cmocka_unit_test(identities_have_one_form),
    };
    return cmocka_run_group_tests(tests, make_answers, NULL);
}
