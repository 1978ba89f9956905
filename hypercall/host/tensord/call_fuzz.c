// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as a hostile guest: a program that writes into its region, submits calls, attaches,
// leaves, and does so between any two steps of a pass. The worker's own books must stay right, and
// an honest neighbour in the same passes must get its tokens.
//
// Links: @tensor tensor/core/pool_host.c tensor/model/synthetic_host.c
// Links: tensor/model/synthetic_vocabulary_host.c @tensord
// Libs: -lmbedcrypto -lseccomp -lmicrohttpd
#include "hypercall/host/tensord/calls_ops.h"
#include "tensor/model/synthetic.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum {
    REGION = 1 << 20,
    ARGUMENTS = 1 << 17,
    PAGES = 8,
    MOST_STEPS = 300, // of one program
    MOST_PASSES = 24,
    NEIGHBOUR_MAKES = 6,
    OURS = 0, // the neighbour's place
    ITS = 1,  // the hostile guest's
};

// A guest as its own side sees it.
struct side {
    int memory, rings[2 * HC_VECTOR_COUNT];
    uint8_t *region;
    struct guest *guest;
    uint32_t handles[4]; // arguments, KV, model, the last other that was answered
    uint64_t arguments_at;
    uint64_t next_tag;
};

static struct worker w;
static struct side sides[2];
static int holder;
static int32_t wanted[NEIGHBOUR_MAKES];
static bool known; // wanted is

struct program {
    const uint8_t *at, *end;
    int steps, passes;
};

static uint64_t take(struct program *p, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && p->at < p->end; i++) {
        value |= (uint64_t)*p->at++ << 8 * i;
    }
    return value;
}

#define must(holds) ((holds) ? (void)0 : broken(#holds, __LINE__))
static _Noreturn void broken(const char *what, int line)
{
    fprintf(stderr, "line %d: does not hold: %s\n", line, what);
    abort();
}

// ---- the stage ---------------------------------------------------------------------------------

static void add_weights(const char *architecture, enum weights_state state)
{
    struct synthetic_options o;
    char error[256];
    size_t bytes;
    struct weights *x = &w.weights[w.weights_count++];
    *x = (struct weights){.state = state, .fd = -1};
    x->identity.sha256[0] = (uint8_t)w.weights_count;
    if (state == WEIGHTS_OPEN) {
        must(synthetic_default(architecture, TN_Q8_0, &o));
        void *file = synthetic_model(&o, &bytes);
        must(file && tn_model_open(file, bytes, &x->model, error, sizeof error) == 0);
        x->mapped = file;
        tn_model_info(x->model, &x->info);
    }
}

static void open_stage(void)
{
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    w.options = (struct worker_options){.threads = 1,
                                        .isa = tn_isa_best(),
                                        .link = pair[0],
                                        .audit = -1,
                                        .metrics = -1,
                                        .epoch = 1};
    holder = pair[1];
    w.pool = &tn_pool_single;
    w.epoll = -1;
    w.news = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.work, NULL);
    add_weights("llama", WEIGHTS_OPEN);
    add_weights("qwen3moe", WEIGHTS_OPEN);
    add_weights(NULL, WEIGHTS_OPENING);
    add_weights(NULL, WEIGHTS_BAD);
    for (int i = 0; i < 2; i++) {
        struct side *s = &sides[i];
        s->memory = memfd_create("region", MFD_CLOEXEC);
        must(s->memory >= 0 && ftruncate(s->memory, REGION) == 0);
        s->region = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, s->memory, 0);
        must(s->region != MAP_FAILED);
        for (int j = 0; j < 2 * HC_VECTOR_COUNT; j++) {
            s->rings[j] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        }
    }
}

static void come(struct side *s, uint32_t number, const struct guest_policy *policy)
{
    struct link_message m = {.guest = number, .bytes = REGION, .policy = *policy};
    int fds[LINK_GUEST_FDS] = {fcntl(s->memory, F_DUPFD_CLOEXEC, 0)};
    char error[200];
    must(fallocate(s->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, REGION) == 0);
    for (int j = 0; j < 2 * HC_VECTOR_COUNT; j++) {
        fds[1 + j] = fcntl(s->rings[j], F_DUPFD_CLOEXEC, 0);
    }
    s->guest = guest_open(&w, &m, fds, error, sizeof error);
    must(s->guest != NULL);
    s->next_tag = 1;
    s->guest->virtual_ns = w.virtual_now;
    w.guests[w.guest_count++] = s->guest;
}

static void go(struct side *s)
{
    for (uint32_t i = 0; i < w.guest_count; i++) {
        if (w.guests[i] == s->guest) {
            w.guests[i] = w.guests[--w.guest_count];
            break;
        }
    }
    guest_close(s->guest);
    s->guest = NULL;
}

static struct hc_guest_page *page_of(const struct side *s)
{
    return (struct hc_guest_page *)(void *)(s->region + HC_GUEST_PAGE);
}

// ---- what must hold ----------------------------------------------------------------------------

static void check_run(const struct run *r)
{
    const struct guest *g = r->guest;
    const struct tn_model_info *i = &r->engine->weights->info;
    uint64_t store = r->engine->kv_page_bytes * r->kv_page_total;
    must(r->done <= r->count && r->made <= r->most && r->count <= r->prompt + r->most);
    must(r->count <= r->kv_page_count * TN_KV_PAGE_TOKENS + 1);
    must(r->kv >= g->region + HC_ARENA && store <= (uint64_t)(g->region + REGION - r->kv));
    for (uint32_t p = 0; p < r->kv_page_count; p++) {
        must(r->pages[p] < r->kv_page_total);
    }
    for (uint32_t t = 0; t < r->count - r->first; t++) {
        must(r->tokens[t] >= 0 && (uint32_t)r->tokens[t] < i->vocabulary);
    }
    if (r->logits_out) {
        const uint8_t *at = (const uint8_t *)r->logits_out;
        must(at >= g->region + HC_ARENA);
        must((uint64_t)r->logit_rows * i->vocabulary * 4 <= (uint64_t)(g->region + REGION - at));
    }
}

static void check(const struct guest *g)
{
    uint32_t runs = 0, in_pass = 0, lent = 0, owed = 0;
    size_t memory = 0;
    uint64_t bytes = 0, end = HC_ARENA;
    for (const struct run *r = g->runs; r; r = r->next) {
        runs++;
        in_pass += r->state == RUN_IN_PASS;
        memory += r->memory;
        owed += r->most - r->made + 1;
        check_run(r);
    }
    for (const struct opening *o = g->openings; o; o = o->next) {
        owed++;
    }
    must(g->ops || !g->attached || owed == g->owed);
    must(runs == g->run_count && in_pass == g->in_pass && memory == g->memory);
    must(runs <= g->policy.most_runs && memory <= g->policy.memory_bytes);
    must(g->owed <= HC_COMPLETION_COUNT && g->statistics.refused <= g->statistics.calls);
    for (; lent < g->arena.count; lent++) {
        const struct buffer *b = &g->arena.buffers[g->arena.order[lent]];
        must(b->bytes && b->offset >= end && b->bytes <= REGION - b->offset);
        end = b->offset + b->bytes;
        bytes += b->bytes;
    }
    must(bytes == g->arena.lent);
}

static void check_all(void)
{
    for (uint32_t i = 0; i < w.guest_count; i++) {
        check(w.guests[i]);
    }
}

// ---- what a guest does -------------------------------------------------------------------------

static void attach(struct side *s)
{
    struct hc_guest_page *page = page_of(s);
    page->submission_tail = page->completion_head = 0;
    page->version = HC_ABI_VERSION;
    page->generation++;
}

static void submit(struct side *s, const struct hc_submission *call)
{
    struct hc_submission *ring = (void *)(s->region + HC_SUBMISSIONS);
    struct hc_guest_page *page = page_of(s);
    ring[page->submission_tail % HC_SUBMISSION_COUNT] = *call;
    page->submission_tail++;
}

static void simple(struct side *s, uint16_t call, uint64_t a, uint64_t b)
{
    submit(s, &(struct hc_submission){.call = call, .tag = s->next_tag++, .argument = {a, b}});
}

// Takes completions; what they say of handles is remembered. Tokens of tag `of` go to `made`.
static uint32_t take_completions(struct side *s, uint64_t of, int32_t *made, bool *ended)
{
    const struct hc_completion *ring = (const void *)(s->region + HC_COMPLETIONS);
    uint32_t tail = s->guest->completion_tail, count = 0;
    struct hc_guest_page *page = page_of(s);
    uint32_t first =
        tail - page->completion_head <= HC_COMPLETION_COUNT ? page->completion_head : tail;
    for (uint32_t i = first; i != tail; i++) {
        struct hc_completion c = ring[i % HC_COMPLETION_COUNT];
        if (c.kind == HC_END && c.status == 0 && c.call == HC_ALLOC && !s->handles[0]) {
            s->handles[0] = (uint32_t)c.value[0];
            s->arguments_at = c.value[1];
        } else if (c.kind == HC_END && c.status == 0 && c.call == HC_ALLOC && !s->handles[1]) {
            s->handles[1] = (uint32_t)c.value[0];
        } else if (c.kind == HC_END && c.status == 0 && c.call == HC_MODEL_OPEN) {
            s->handles[2] = (uint32_t)c.value[0];
        } else if (c.kind == HC_END && c.status == 0) {
            s->handles[3] = (uint32_t)c.value[0];
        }
        if (made && c.tag == of && c.kind == HC_TOKEN) {
            must(count < NEIGHBOUR_MAKES && c.value[1] == count + 1);
            made[count++] = (int32_t)c.value[0];
        } else if (made && c.tag == of) {
            must(c.status == 0);
            *ended = true;
        }
    }
    page->completion_head = tail;
    return count;
}

static void serve(struct side *s)
{
    guest_serve(s->guest, 32);
    check(s->guest);
}

// The same, however much time it has used.
static void serve_surely(struct side *s)
{
    s->guest->window_ns = 0;
    serve(s);
}

// Attached, with memory for arguments and K and V, and a model.
static void settle(struct side *s, unsigned weights, uint32_t kv_type)
{
    memset(s->handles, 0, sizeof s->handles);
    attach(s);
    serve_surely(s);
    simple(s, HC_ALLOC, ARGUMENTS, 0);
    serve_surely(s);
    take_completions(s, 0, NULL, NULL);
    struct hc_model_open *o = (void *)(s->region + s->arguments_at);
    *o = (struct hc_model_open){.identity = w.weights[weights].identity, .kv_type = kv_type};
    simple(s, HC_MODEL_OPEN, s->handles[0], 0);
    serve_surely(s);
    simple(s, HC_ALLOC, o->kv_page_bytes * PAGES, 0);
    serve_surely(s);
    take_completions(s, 0, NULL, NULL);
}

// A sound run's arguments at `at` of the arguments.
static struct hc_run *run_at(const struct side *s, uint32_t at, uint32_t tokens, uint32_t most)
{
    struct hc_run *r = (void *)(s->region + s->arguments_at + at);
    uint32_t *pages = (void *)(r + 1);
    int32_t *ids = (void *)(pages + PAGES);
    for (uint32_t i = 0; i < PAGES; i++) {
        pages[i] = (i * 3 + 1) % PAGES;
    }
    for (uint32_t i = 0; i < tokens; i++) {
        ids[i] = (int32_t)(i * 37 % 300);
    }
    *r = (struct hc_run){
        .model = s->handles[2],
        .kv = {.buffer = s->handles[1]},
        .kv_page_total = PAGES,
        .kv_page_count = PAGES,
        .kv_pages = {.buffer = s->handles[0], .offset = at + sizeof *r},
        .tokens = {.buffer = s->handles[0], .offset = at + sizeof *r + PAGES * sizeof *pages},
        .token_count = tokens,
        .most_tokens = most,
        .top_p = 1,
        .repeat_penalty = 1};
    return r;
}

// ---- the program -------------------------------------------------------------------------------

static uint64_t take_value(struct program *p, const struct side *s)
{
    static const uint64_t extremes[] = {0,
                                        1,
                                        0x7fffffff,
                                        0xffffffff,
                                        1ull << 32,
                                        1ull << 63,
                                        UINT64_MAX,
                                        UINT64_MAX - 63,
                                        REGION,
                                        ARGUMENTS,
                                        ARGUMENTS - 1,
                                        0x7f800000, // infinity
                                        0x7fc00000, // no number
                                        HC_MOST_TOKENS,
                                        HC_MOST_PAGES,
                                        0x80000000};
    uint8_t kind = (uint8_t)take(p, 1);
    switch (kind >> 4) {
    case 0:
    case 1:
    case 2:
    case 3:
        return s->handles[kind >> 4];
    case 4:
        return extremes[kind & 15];
    case 5:
        return take(p, 2);
    case 6:
        return take(p, 4);
    case 7:
        return take(p, 8);
    default:
        return kind & 127;
    }
}

static void submit_any(struct program *p, struct side *s)
{
    uint8_t shape = (uint8_t)take(p, 1);
    struct hc_submission c = {.call = (uint16_t)(shape & 31), .tag = s->next_tag++};
    for (unsigned i = 0; i < (shape >> 5 == 7 ? 6u : shape >> 5); i++) {
        c.argument[i] = take_value(p, s);
    }
    if (shape >> 5 == 7) { // something odd besides
        c.tag = take(p, 1);
        c.flags = (uint16_t)(take(p, 1) & 1);
        c.zero = (uint32_t)(take(p, 1) & 1);
    }
    submit(s, &c);
}

// A sound run with some fields changed.
static void submit_run(struct program *p, struct side *s)
{
    uint8_t shape = (uint8_t)take(p, 1);
    uint32_t at = (shape & 7u) * 8192;
    struct hc_run *r = run_at(s, at, 1 + (uint32_t)take(p, 1) % 100, (uint32_t)take(p, 1) % 32);
    for (unsigned i = 0; i < shape >> 6; i++) {
        uint32_t field = (uint32_t)take(p, 1) % (sizeof *r / 4);
        uint64_t value = take_value(p, s);
        memcpy((uint8_t *)r + field * 4, &value, field * 4 + 8 <= sizeof *r && shape & 8 ? 8 : 4);
    }
    simple(s, HC_RUN, s->handles[0], at);
}

static void submit_open(struct program *p, struct side *s)
{
    struct hc_model_open *o = (void *)(s->region + s->arguments_at + ARGUMENTS - 128);
    uint8_t which = (uint8_t)take(p, 1);
    *o = (struct hc_model_open){.kv_type = which >> 4};
    o->identity.sha256[0] = which & 7;
    simple(s, HC_MODEL_OPEN, s->handles[0], ARGUMENTS - 128);
}

static void write_bytes(struct program *p, uint8_t *to, uint64_t room)
{
    for (uint64_t n = take(p, 1) % 64, i = 0; i < n && i < room; i++) {
        to[i] = (uint8_t)take(p, 1);
    }
}

static void write_word(struct program *p, struct side *s)
{
    struct hc_guest_page *page = page_of(s);
    uint32_t *words[] = {&page->generation, &page->version, &page->submission_tail,
                         &page->completion_head, &page->completion_needs_kick};
    uint8_t which = (uint8_t)take(p, 1);
    uint32_t value = (uint32_t)take_value(p, s);
    *words[which % 5] = which & 64 ? *words[which % 5] + value - 64 : value;
}

static void holder_answers(void)
{
    struct link_message m;
    int fds[LINK_MOST_FDS];
    size_t count;
    char *text;
    while (link_receive(holder, &m, &text, fds, &count) > 0) {
        free(text);
        if (m.kind == LINK_WANT_WEIGHTS) {
            weights_missing(&w, &m.identity);
        }
    }
    weights_progress(&w);
}

static void step(struct program *p, struct side *s);

// A pass, with the hostile guest at work before, beside and after it.
static void pass(struct program *p, struct side *s)
{
    struct engine *e;
    struct pass result;
    struct guest *ops = ops_ready(&w);
    uint8_t meanwhile = p ? (uint8_t)take(p, 1) : 0;
    if (ops) {
        ops_work(&w, ops);
    }
    if (!compose_pass(&w, &e)) {
        return;
    }
    check_all();
    for (int i = 0; i < (meanwhile & 3); i++) {
        step(p, s);
    }
    pass_compute(e, &result);
    for (int i = 0; i < (meanwhile >> 2 & 3); i++) {
        step(p, s);
    }
    pass_deliver(&w, e, &result);
    check_all();
}

static void step(struct program *p, struct side *s)
{
    if (p->at == p->end || p->steps++ >= MOST_STEPS) {
        return;
    }
    switch (take(p, 1) % 16) {
    case 0:
    case 1:
        submit_any(p, s);
        break;
    case 2:
    case 3:
        submit_run(p, s);
        break;
    case 4: {
        uint64_t at = take(p, 2) * 2 % ARGUMENTS;
        write_bytes(p, s->region + s->arguments_at + at, ARGUMENTS - at);
        break;
    }
    case 5: {
        uint64_t at = take(p, 3) % REGION;
        write_bytes(p, s->region + at, REGION - at);
        break;
    }
    case 6:
        write_word(p, s);
        break;
    case 7:
    case 8:
    case 9:
        serve(s);
        break;
    case 10:
    case 11:
        if (s->guest->in_pass == 0 && sides[OURS].guest->in_pass == 0 &&
            p->passes++ < MOST_PASSES) {
            pass(p, s);
        }
        break;
    case 12:
        attach(s);
        break;
    case 13:
        take_completions(s, 0, NULL, NULL);
        break;
    case 14:
        submit_open(p, s);
        break;
    case 15:
        holder_answers();
        break;
    }
}

// ---- one input ---------------------------------------------------------------------------------

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const struct guest_policy usual = {
        .weight = 100, .most_runs = 32, .memory_bytes = 64 << 20};
    struct program p = {.at = data, .end = data + bytes};
    struct side *ours = &sides[OURS], *its = &sides[ITS];
    int32_t made[NEIGHBOUR_MAKES];
    bool ended = false;
    if (!w.pool) {
        open_stage();
        LLVMFuzzerTestOneInput(data, 0); // what the neighbour is to get
    }
    pthread_mutex_lock(&w.lock);
    uint8_t policy = (uint8_t)take(&p, 1);
    come(ours, 1, &usual);
    come(its, 2,
         &(struct guest_policy){.weight = policy & 1 ? 1 : 10000,
                                .compute_percent = policy & 2 ? 1 : 0,
                                .most_runs = policy & 4 ? 3 : 32,
                                .calls_per_second = policy & 8 ? 400 : 0,
                                .memory_bytes = 20000});
    settle(ours, 0, TN_F32);
    settle(its, policy >> 4 & 1, policy & 32 ? TN_F16 : TN_F32);
    run_at(ours, 0, 40, NEIGHBOUR_MAKES);
    simple(ours, HC_RUN, ours->handles[0], 0);
    serve_surely(ours);
    while (p.at < p.end && p.steps < MOST_STEPS) {
        step(&p, its);
    }
    serve(its);
    for (int i = 0; i < 4; i++) {
        pass(NULL, its);
    }
    its->guest->leaving = true;
    go(its);
    for (int i = 0; i < 4 * NEIGHBOUR_MAKES; i++) {
        pass(NULL, its);
    }
    uint32_t count = take_completions(ours, ours->next_tag - 1, made, &ended);
    must(ended && count == NEIGHBOUR_MAKES);
    if (!known) {
        memcpy(wanted, made, sizeof wanted);
        known = true;
    }
    must(memcmp(made, wanted, sizeof made) == 0);
    go(ours);
    holder_answers();
    pthread_mutex_unlock(&w.lock);
    return 0;
}
