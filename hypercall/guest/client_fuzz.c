// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Whatever a host writes into its page, its ring and the arena, and whenever: client and runner
// keep their books, give out no token beyond the vocabulary and touch nothing outside. Input: a
// byte says what happens next, the bytes behind it how.
//
// Links: hypercall/guest/client.c hypercall/guest/client_names.c hypercall/guest/runner.c
// Links: hypercall/guest/runner_setup.c hypercall/guest/runner_measure.c hypercall/guest/identity.c
#include "hypercall/guest/fake_host.h"
#include "hypercall/guest/runner_private.h"

enum { REGION = HC_LEAST_REGION, VOCABULARY = 300, RUNS = 4, PAGES = 16 };

struct input {
    const uint8_t *at, *end;
};

static uint64_t take(struct input *in, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes && in->at < in->end; i++) {
        value |= (uint64_t)*in->at++ << (8 * i);
    }
    return value;
}

static const struct hc_model_open facts = {.vocabulary = VOCABULARY,
                                           .context = 256,
                                           .layers = 2,
                                           .kv_heads = 2,
                                           .head_dim = 32,
                                           .kv_page_bytes = 1024};

// What a good host says to one call; to a run a token or its end, as the input likes.
static void serve(struct fake_host *h, struct input *in)
{
    struct hc_submission s;
    fake_attach(h);
    // Bounded: where the input has set `attached`, this host's own head may be beyond the tail.
    for (int n = 0; n < HC_SUBMISSION_COUNT && fake_take(h, &s); n++) {
        struct hc_completion c = {.tag = s.tag, .call = s.call, .kind = HC_END};
        if (s.call == HC_ALLOC) {
            c.value[0] = 5;
            c.value[1] = HC_ARENA;
        } else if (s.call == HC_MODEL_OPEN) {
            uint64_t at = HC_ARENA + s.argument[1];
            if (at + sizeof facts <= REGION) {
                memcpy(h->region + at, &facts, sizeof facts);
            }
            c.value[0] = 6;
        } else if (s.call == HC_RUN && in && take(in, 1) % 2) {
            c.kind = HC_TOKEN;
            c.value[0] = take(in, 2);
            c.value[1] = 1;
        }
        fake_answer(h, &c);
    }
}

static void serve_well(struct fake_host *h)
{
    serve(h, NULL);
}

static void start_run(const struct infer_runner *r, struct input *in)
{
    static const int32_t tokens[8] = {1, 2, 3, 4, 5, 6, 7, 8}, stops[2] = {0, 9};
    static const uint32_t pages[2] = {3, 4};
    static float row[VOCABULARY];
    static const struct tn_sampling sampling = {.top_p = 1, .repeat_penalty = 1};
    uint64_t how = take(in, 2);
    struct infer_run run = {.tokens = tokens,
                            .token_count = 1 + how % 8,
                            .most_tokens = how >> 3 & 15,
                            .kv_pages = pages,
                            .kv_page_count = 2,
                            .sampling = &sampling,
                            .stops = stops,
                            .stop_count = how >> 7 & 1 ? 2 : 0,
                            .logits = how >> 8 & 1 ? row : NULL};
    r->start(r->ctx, how >> 9 & 7, &run);
}

static void post(struct fake_host *h, struct input *in, const struct hc_client *client)
{
    struct hc_completion c = {.tag = client->next_tag - take(in, 1) % 16,
                              .call = (uint16_t)(take(in, 1) % 10),
                              .kind = (uint16_t)(take(in, 1) % 4),
                              .status = (int32_t)take(in, 1) - 200};
    c.status = c.status < 0 ? 0 : -c.status;
    c.value[0] = take(in, 2);
    c.value[1] = take(in, 1);
    fake_answer(h, &c);
}

static void check(const struct hc_client *c, const struct hc_runner *r)
{
    uint32_t flights = 0;
    for (int i = 0; i < HC_CALLS_IN_FLIGHT; i++) {
        flights += c->flight[i].tag != 0;
    }
    if (flights != c->flight_count || c->promised > HC_COMPLETION_COUNT - HC_COMPLETION_RESERVE ||
        r->tail - r->head > RUNNER_EVENTS) {
        abort();
    }
}

static void step(struct fake_host *h, struct hc_client *c, struct hc_runner *r, struct input *in)
{
    const struct infer_runner *infer = hc_runner_infer(r);
    struct infer_event event;
    struct hc_completion answer;
    static const uint64_t none[6];
    uint64_t tag;
    switch (take(in, 1) % 14) {
    case 0:
        hc_look(c);
        break;
    case 1:
        hc_submit(c, (uint16_t)take(in, 1), none, (uint32_t)take(in, 2), &tag);
        break;
    case 2:
    case 3:
        start_run(infer, in);
        break;
    case 4:
        infer->cancel(infer->ctx, (uint32_t)take(in, 1) % (RUNS + 1));
        break;
    case 5:
        for (int i = 0; i < 64 && infer->next(infer->ctx, &event); i++) {
            if (event.run >= RUNS ||
                (event.kind == INFER_RUN_TOKEN && (event.token < 0 || event.token >= VOCABULARY))) {
                abort();
            }
        }
        break;
    case 6: {
        uint32_t at = (uint32_t)take(in, 2) % (sizeof(struct hc_host_page) / 4) * 4;
        uint32_t value = (uint32_t)take(in, 4);
        memcpy(h->region + HC_HOST_PAGE + at, &value, 4);
        break;
    }
    case 7:
        post(h, in, c);
        break;
    case 8:
        serve(h, in);
        break;
    case 9:
        h->now += take(in, 1) * 10000000;
        break;
    case 10:
        if (hc_sleep_begin(c)) {
            hc_sleep_end(c);
        }
        break;
    case 11:
        hc_call(c, HC_NOTHING, none, 10, &answer);
        break;
    case 12: {
        struct hc_host_page *p = fake_page(h);
        p->magic = HC_MAGIC;
        p->version = HC_ABI_VERSION;
        p->region_bytes = REGION;
        p->epoch++;
        p->state = HC_HOST_READY;
        break;
    }
    default: {
        uint32_t at = (uint32_t)take(in, 3) % (REGION - HC_COMPLETIONS - 8);
        uint64_t value = take(in, 8);
        memcpy(h->region + HC_COMPLETIONS + at, &value, 8);
    }
    }
    check(c, r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct fake_host h;
    struct hc_client c;
    struct hc_runner *r;
    char error[100];
    const struct hc_runner_options o = {.kv_page_total = PAGES,
                                        .kv_page_bytes = facts.kv_page_bytes,
                                        .vocabulary = VOCABULARY,
                                        .layers = 2,
                                        .kv_heads = 2,
                                        .head_dim = 32,
                                        .context = 256,
                                        .runs = RUNS,
                                        .most_tokens = 16};
    static uint8_t *region;
    if (!region && !(region = aligned_alloc(4096, REGION))) { // ends where it may not be read on
        abort();
    }
    fake_begin(&h, region, REGION);
    struct hc_port port = fake_port(&h);
    h.act = serve_well;
    if (hc_client_init(&c, h.region, REGION, &port) ||
        hc_runner_open(&c, &o, 1000, &r, error, sizeof error)) {
        abort();
    }
    h.act = NULL;
    while (in.at < in.end) {
        step(&h, &c, r, &in);
    }
    hc_runner_close(r);
    return 0;
}
