// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest that lies, changes what it said, and floods, beside an honest one, which decodes all the
// while and must get exactly the native engine's tokens, from the same worker.
//
// Links: @tensor tensor/core/pool_host.c tensor/model/synthetic_host.c
// Links: tensor/model/synthetic_vocabulary_host.c @tensord hypercall/host/tensord/play_host.c
// Links: hypercall/host/tensord/raw_host.c hypercall/host/tensord/stage_host.c
// Links: hypercall/guest/client.c hypercall/guest/client_names.c hypercall/guest/connect_host.c
// Libs: -lmbedcrypto -lseccomp -lmicrohttpd
#include "hypercall/host/tensord/stage_host.h"

// Numbers that limits, signs, products and floats stumble over.
static const uint64_t extremes[] = {0,          1,          2,          63,
                                    64,         65,         127,        0x3ff,
                                    0x401,      0xffff,     0x10000,    0x10001,
                                    0x20001,    0x7fffffff, 0x80000000, 0xfffffffe,
                                    0xffffffff, 0x7f800000, // infinity
                                    0xff800000, 0x7fc00001, // no number
                                    0x00000001, 1ull << 32, 1ull << 63, UINT64_MAX - 4095,
                                    UINT64_MAX};
enum { EXTREMES = sizeof extremes / sizeof *extremes };

// ---- lies --------------------------------------------------------------------------------------

static void every_field_of_a_submission(void **unused)
{
    (void)unused;
    struct stage s;
    struct raw_guest *g = &s.bad;
    raise_stage(&s, "");
    for (uint16_t call = 0; call < HC_CALL_COUNT + 2; call++) {
        uint16_t number = call < HC_CALL_COUNT ? call : call == HC_CALL_COUNT ? call : 0xffff;
        raw_settle(g);
        struct hc_submission sound = {.call = number, .argument = {g->arguments, 0, 4096}};
        raw_run(g, 0, 5, 2);
        for (unsigned a = 0; a < 6; a++) {
            for (unsigned i = 0; i < EXTREMES; i++) {
                struct hc_submission c = sound;
                c.argument[a] = extremes[i];
                int status = raw_end(g, raw_submit(g, c), NULL);
                assert_true(status >= 0);
                assert_true(number < HC_CALL_COUNT || status == HC_BAD_CALL);
            }
        }
        sound.flags = 0x8000;
        assert_int_equal(raw_end(g, raw_submit(g, sound), NULL), HC_BAD_CALL);
        sound.flags = 0;
        sound.zero = 1;
        assert_int_equal(raw_end(g, raw_submit(g, sound), NULL), HC_BAD_CALL);
    }
    is_served_well(&s);
    lower_stage(&s);
}

static void every_field_of_a_run(void **unused)
{
    (void)unused;
    struct stage s;
    struct raw_guest *g = &s.bad;
    unsigned refused = 0, done = 0;
    raise_stage(&s, "");
    raw_settle(g);
    for (size_t at = 0; at < sizeof(struct hc_run); at += 4) {
        for (unsigned i = 0; i < EXTREMES; i++) {
            for (size_t width = 4; width <= 8 && at % width == 0; width += 4) {
                uint8_t *run = (uint8_t *)raw_run(g, 0, 9, 3);
                memcpy(run + at, &extremes[i], width);
                int status = raw_end(g, raw_call(g, HC_RUN, g->arguments, 0, 0), NULL);
                assert_true(status >= 0);
                refused += status > 0;
                done += status == 0;
            }
        }
    }
    assert_true(refused > 500 && done > 100);
    // Just beyond each limit, and products that overflow: what exactly is wrong is said.
    static const struct {
        size_t at;
        uint32_t value;
        int status;
    } limits[] = {
        {offsetof(struct hc_run, flags), 1, HC_BAD_VALUE},
        {offsetof(struct hc_run, zero), 1, HC_BAD_VALUE},
        {offsetof(struct hc_run, model), 0, HC_BAD_HANDLE},
        {offsetof(struct hc_run, kv_page_total), RAW_PAGES + 1, HC_BAD_RANGE},
        {offsetof(struct hc_run, kv_page_total), 0xffffffff, HC_BAD_RANGE},
        {offsetof(struct hc_run, kv_page_total), RAW_PAGES - 1, HC_BAD_PAGE},
        {offsetof(struct hc_run, kv_page_total), 0, HC_BAD_PAGE},
        {offsetof(struct hc_run, kv_page_count), HC_MOST_PAGES + 1, HC_BAD_PAGE},
        {offsetof(struct hc_run, kv_page_count), 0, HC_BAD_PAGE},
        {offsetof(struct hc_run, token_count), 0, HC_BAD_VALUE},
        {offsetof(struct hc_run, token_count), 511, HC_BAD_VALUE}, // 513 positions of 512
        {offsetof(struct hc_run, most_tokens), HC_MOST_TOKENS + 1, HC_BAD_VALUE},
        {offsetof(struct hc_run, position), 0xffffffff, HC_BAD_VALUE},
        {offsetof(struct hc_run, history_count), 1, HC_BAD_VALUE}, // before position 0
        {offsetof(struct hc_run, stop_count), HC_MOST_STOPS + 1, HC_BAD_VALUE},
        {offsetof(struct hc_run, bias_count), HC_MOST_BIASES + 1, HC_BAD_VALUE},
        {offsetof(struct hc_run, bias_count), 1, HC_BAD_HANDLE}, // without a buffer
        {offsetof(struct hc_run, logit_rows), 10, HC_BAD_VALUE}, // of 9 tokens
        {offsetof(struct hc_run, logit_rows), 9, HC_BAD_HANDLE},
        {offsetof(struct hc_run, kv.offset), 32, HC_BAD_RANGE},
        {offsetof(struct hc_run, kv.zero), 1, HC_BAD_HANDLE},
        {offsetof(struct hc_run, tokens.offset), 2, HC_BAD_RANGE},
        {offsetof(struct hc_run, tokens.offset), RAW_ARGUMENTS - 32, HC_BAD_RANGE},
        {offsetof(struct hc_run, temperature), 0x7fc00000, HC_BAD_VALUE}, // no number
        {offsetof(struct hc_run, temperature), 0xbf800000, HC_BAD_VALUE}, // -1
        {offsetof(struct hc_run, top_p), 0x40000000, HC_BAD_VALUE},       // 2
        {offsetof(struct hc_run, repeat_penalty), 0, HC_BAD_VALUE},
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        uint8_t *run = (uint8_t *)raw_run(g, 0, 9, 3);
        memcpy(run + limits[i].at, &limits[i].value, 4);
        int status = raw_end(g, raw_call(g, HC_RUN, g->arguments, 0, 0), NULL);
        if (status != limits[i].status) {
            fail_msg("limit %zu: status %d", i, status);
        }
    }
    struct hc_run *r = raw_run(g, 0, 9, 3);
    int32_t *tokens = (void *)(g->region + g->arguments_at + r->tokens.offset);
    tokens[8] = (int32_t)s.d.info.vocabulary;
    assert_int_equal(raw_end(g, raw_call(g, HC_RUN, g->arguments, 0, 0), NULL), HC_BAD_TOKEN);
    tokens[8] = -1;
    assert_int_equal(raw_end(g, raw_call(g, HC_RUN, g->arguments, 0, 0), NULL), HC_BAD_TOKEN);
    is_served_well(&s);
    lower_stage(&s);
}

static void every_field_of_opening_a_model(void **unused)
{
    (void)unused;
    struct stage s;
    struct raw_guest *g = &s.bad;
    raise_stage(&s, "");
    raw_settle(g);
    for (size_t at = 0; at < sizeof(struct hc_model_open); at += 4) {
        for (unsigned i = 0; i < EXTREMES; i++) {
            struct hc_model_open *o = (void *)(g->region + g->arguments_at);
            *o = (struct hc_model_open){.identity = g->identity, .kv_type = TN_F32};
            memcpy((uint8_t *)o + at, &extremes[i], 4);
            uint64_t value[2];
            int status = raw_end(g, raw_call(g, HC_MODEL_OPEN, g->arguments, 0, 0), value);
            assert_true(status >= 0);
            if (status == 0) {
                uint64_t close = raw_call(g, HC_MODEL_CLOSE, value[0], 0, 0);
                assert_int_equal(raw_end(g, close, NULL), 0);
            }
        }
    }
    is_served_well(&s);
    lower_stage(&s);
}

// Words of both pages; the host's own are its copies and decide nothing.
static void every_word_of_the_pages(void **unused)
{
    (void)unused;
    struct stage s;
    struct raw_guest *g = &s.bad;
    raise_stage(&s, "");
    for (unsigned i = 0; i < EXTREMES; i++) {
        for (size_t at = 0; at < sizeof(struct hc_host_page); at += 4) {
            uint32_t *word = (uint32_t *)(void *)(g->region + HC_HOST_PAGE + at);
            raw_settle(g);
            uint32_t before = hc_load(word);
            hc_store(word, (uint32_t)extremes[i]);
            raw_call(g, HC_NOTHING, 0, 0, 0);
            raw_ring(g, HC_VECTOR_STATE);
            at += at % 128 >= 44 ? 80 : 0; // the rest of the cache lines is nobody's
            if (hc_load(word) == (uint32_t)extremes[i]) {
                hc_store(word, before);
            }
        }
        uint32_t *words[] = {&g->page->generation, &g->page->version, &g->page->submission_tail,
                             &g->page->completion_head, &g->page->completion_needs_kick};
        for (unsigned j = 0; j < 5; j++) {
            raw_settle(g);
            hc_store(words[j], (uint32_t)extremes[i]);
            raw_call(g, HC_NOTHING, 0, 0, 0);
            raw_ring(g, HC_VECTOR_STATE);
        }
    }
    is_served_well(&s);
    lower_stage(&s);
}

// ---- changes under its hands -------------------------------------------------------------------

struct scribbler {
    struct raw_guest *g;
    bool rings; // the rings and the pages, too
    uint32_t stop;
};

static void *scribble(void *arg)
{
    struct scribbler *s = arg;
    struct raw_guest *g = s->g;
    uint64_t x = 88172645463325252u;
    while (!hc_load(&s->stop)) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t where = s->rings ? x >> 8 & 7 : x >> 8 & 3;
        uint32_t value = x & 128 ? (uint32_t)(x >> 32) : (uint32_t)extremes[x % EXTREMES];
        if (where < 2) { // a run's fields, page table, tokens, mask
            hc_store((void *)(g->region + g->arguments_at + (x >> 20) % 1024 / 4 * 4), value);
        } else if (where < 4) {
            hc_store((void *)(g->region + g->kv_at + (x >> 20) % g->kv_bytes / 4 * 4), value);
        } else if (where < 6) {
            hc_store((void *)(g->region + HC_SUBMISSIONS + (x >> 20) % 0x2000 / 4 * 4), value);
        } else if (where == 6) {
            hc_store(&g->page->completion_head, hc_load(&g->host->completion_tail));
        } else {
            hc_store((void *)(g->region + (x >> 20) % 0x2000 / 4 * 4), value);
        }
    }
    return NULL;
}

static void what_was_submitted_changes_all_the_time(void **unused)
{
    (void)unused;
    for (int rings = 0; rings < 2; rings++) {
        struct stage s;
        struct raw_guest *g = &s.bad;
        pthread_t thread;
        raise_stage(&s, "");
        raw_settle(g);
        struct scribbler c = {.g = g, .rings = rings};
        assert_int_equal(pthread_create(&thread, NULL, scribble, &c), 0);
        uint32_t since = hc_load(&s.rounds);
        for (int i = 0; i < 400 || !went_on(&s, since, 10); i++) {
            raw_run(g, 0, 60, 20);
            raw_call(g, i % 5 ? HC_RUN : HC_MODEL_OPEN, g->arguments, 0, 0);
            raw_pause_ms(1);
            if (!rings) {
                g->head = hc_load(&g->host->completion_tail);
                hc_store(&g->page->completion_head, g->head);
            } else if (!raw_is_served(g)) { // cut off, or it asked to be attached by chance
                g->tail = 0;
                hc_store(&g->page->submission_tail, 0);
                hc_store(&g->page->completion_head, 0);
                hc_store(&g->page->version, HC_ABI_VERSION);
                hc_store(&g->page->generation, (uint32_t)i + 1000);
                raw_ring(g, HC_VECTOR_STATE);
            }
        }
        hc_store(&c.stop, 1);
        pthread_join(thread, NULL);
        is_served_well(&s);
        lower_stage(&s);
    }
}

// ---- floods ------------------------------------------------------------------------------------

static void floods(void **unused)
{
    (void)unused;
    enum { EMPTY_CALLS, ALLOCATIONS, DOORBELLS, LONG_RUNS, BAD_RUNS, UNKNOWN, ATTACHES, FLOODS };
    struct stage s;
    struct raw_guest *g = &s.bad;
    raise_stage(&s, ",\"most_runs\":64");
    for (int kind = 0; kind < FLOODS; kind++) {
        raw_settle(g);
        for (unsigned i = 0; i < 8; i++) {
            struct hc_run *r = raw_run(g, i * 8192, LONG_PROMPT, 100);
            r->logits.buffer = kind == BAD_RUNS; // refused at the very end of its checks
            r->logit_rows = kind == BAD_RUNS;
            r->temperature = 1;
        }
        struct hc_model_open *o = (void *)(g->region + g->arguments_at + 65536);
        *o = (struct hc_model_open){.kv_type = TN_F32};
        uint32_t since = hc_load(&s.rounds);
        for (uint32_t i = 0; !went_on(&s, since, 6); i++) {
            // It takes no completion; where it may not go on for that, it attaches anew.
            uint32_t waiting = g->tail - hc_load(&g->host->submission_head);
            if (waiting >= HC_SUBMISSION_COUNT && i % 64 == 0) {
                g->tail = 0;
                raw_attach(g);
                if (kind != EMPTY_CALLS && kind != DOORBELLS) {
                    raw_settle(g);
                }
            } else if (kind == DOORBELLS) {
                raw_ring(g, i & 1);
            } else if (kind == ATTACHES) {
                hc_store(&g->page->generation, i + 5000);
                raw_ring(g, HC_VECTOR_STATE);
            } else if (waiting < HC_SUBMISSION_COUNT) {
                o->identity.sha256[i % 32] = (uint8_t)i;
                raw_call(g,
                         kind == EMPTY_CALLS   ? HC_NOTHING
                         : kind == ALLOCATIONS ? HC_ALLOC
                         : kind == UNKNOWN     ? HC_MODEL_OPEN
                                               : HC_RUN,
                         kind == EMPTY_CALLS   ? 0
                         : kind == ALLOCATIONS ? 1
                                               : g->arguments,
                         kind == UNKNOWN                         ? 65536
                         : kind == LONG_RUNS || kind == BAD_RUNS ? i % 8 * 8192
                                                                 : 0,
                         0);
            }
        }
        assert_int_equal(hc_load(&s.wrong), 0);
    }
    is_served_well(&s);
    lower_stage(&s);
}

// All handles, all memory, all runs: refused, and free again afterwards.
static void what_it_may_have_ends_somewhere(void **unused)
{
    (void)unused;
    struct stage s;
    struct raw_guest *g = &s.bad;
    uint64_t value[2], tags[HC_MOST_RUNS + 1];
    unsigned lent = 0;
    raise_stage(&s, ",\"most_runs\":64,\"memory_mb\":1");
    raw_settle(g);
    int status;
    while ((status = raw_end(g, raw_call(g, HC_ALLOC, 4096, 0, 0), value)) == 0) {
        assert_true(++lent <= HC_MOST_BUFFERS);
    }
    assert_int_equal(status, HC_NO_MEMORY);
    assert_int_equal(lent, HC_MOST_BUFFERS - 2);
    for (unsigned i = 0; i < HC_MOST_MODELS - 1; i++) {
        struct hc_model_open *o = (void *)(g->region + g->arguments_at);
        *o = (struct hc_model_open){.identity = g->identity, .kv_type = TN_F32};
        assert_int_equal(raw_end(g, raw_call(g, HC_MODEL_OPEN, g->arguments, 0, 0), value), 0);
    }
    assert_int_equal(raw_end(g, raw_call(g, HC_MODEL_OPEN, g->arguments, 0, 0), value),
                     HC_NO_MEMORY);
    // 64 runs of 20 tokens fit the completions; one more, with another 1000, does not.
    for (unsigned i = 0; i <= HC_MOST_RUNS; i++) {
        raw_run(g, 0, 300, 20);
        tags[i] = raw_call(g, HC_RUN, g->arguments, 0, 0);
    }
    status = raw_end(g, tags[HC_MOST_RUNS], NULL);
    assert_true(status == HC_BUSY || status == 0); // 0: some had ended by then
    is_served_well(&s);
    lower_stage(&s);
}

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(every_field_of_a_submission),
        cmocka_unit_test(every_field_of_a_run),
        cmocka_unit_test(every_field_of_opening_a_model),
        cmocka_unit_test(every_word_of_the_pages),
        cmocka_unit_test(what_was_submitted_changes_all_the_time),
        cmocka_unit_test(floods),
        cmocka_unit_test(what_it_may_have_ends_somewhere),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return play_main(argc, argv, tests);
}
