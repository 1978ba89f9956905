// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The client of client.h: the link and the rings. Names are in client_names.c.
#include "hypercall/guest/client.h"
#include "hypercall/abi/ring.h"

#include <errno.h>
#include <string.h>

#define MS 1000000ull
enum {
    LOOKS_A_TIME = 256, // between two looks at the clock, which costs more than they do
    LOOKS_AT_ONCE = 48, // of them before the first pause
};

static struct hc_host_page *host_page(const struct hc_client *c)
{
    return (struct hc_host_page *)(void *)(c->region + HC_HOST_PAGE);
}
static struct hc_guest_page *guest_page(const struct hc_client *c)
{
    return (struct hc_guest_page *)(void *)(c->region + HC_GUEST_PAGE);
}
static uint64_t now(const struct hc_client *c)
{
    return c->port.now_ns(c->port.ctx);
}

static uint32_t machine_generation(const struct hc_client *c)
{
    return c->port.generation ? c->port.generation(c->port.ctx) : 0;
}

int hc_client_init(struct hc_client *c, void *region, uint64_t region_bytes,
                   const struct hc_port *port)
{
    if (region_bytes < HC_LEAST_REGION || (region_bytes & (region_bytes - 1)) != 0) {
        return -EINVAL;
    }
    *c = (struct hc_client){.region = region,
                            .region_bytes = region_bytes,
                            .port = *port,
                            .next_tag = 1,
                            .link = HC_LINK_DOWN};
    c->generation = hc_load(&guest_page(c)->generation); // of an earlier life in this region
    c->machine_generation = machine_generation(c);
    c->down_since_ns = now(c);
    return 0;
}

bool hc_in_arena(const struct hc_client *c, uint64_t offset, uint64_t bytes)
{
    return offset >= HC_ARENA && offset <= c->region_bytes && bytes <= c->region_bytes - offset;
}

bool hc_host_sleeps(const struct hc_client *c)
{
    return hc_load(&host_page(c)->submission_needs_kick) != 0;
}

// ---- the link ----------------------------------------------------------------------------------

static void lose(struct hc_client *c, enum hc_loss why)
{
    c->losses += c->link == HC_LINK_UP;
    if (c->link == HC_LINK_UP) {
        c->down_since_ns = now(c);
    }
    c->link = why == HC_LOSS_GONE ? HC_LINK_GONE : HC_LINK_DOWN;
    c->loss = why;
    c->same_epoch_no_more =
        why == HC_LOSS_CUT_OFF || why == HC_LOSS_NONSENSE || why == HC_LOSS_RESTARTING;
    c->flight_count = 0;
    c->promised = 0;
    c->ask_tag = 0;
    c->call_tag = 0;
    memset(c->flight, 0, sizeof c->flight);
}

void hc_distrust(struct hc_client *c)
{
    if (c->link == HC_LINK_UP) {
        lose(c, HC_LOSS_NONSENSE);
    }
}

// Is it the page of a host whose rules we know?
static bool host_is_known(const struct hc_client *c)
{
    struct hc_host_page *h = host_page(c);
    return __atomic_load_n(&h->magic, __ATOMIC_RELAXED) == HC_MAGIC &&
           hc_load(&h->version) == HC_ABI_VERSION &&
           __atomic_load_n(&h->region_bytes, __ATOMIC_RELAXED) == c->region_bytes;
}

static void begin_attach(struct hc_client *c, uint32_t epoch)
{
    struct hc_guest_page *g = guest_page(c);
    c->epoch = epoch;
    c->submission_tail = c->submission_head = c->completion_head = 0;
    hc_store(&g->submission_tail, 0);
    hc_store(&g->completion_head, 0);
    hc_store(&g->completion_needs_kick, 1);
    g->version = HC_ABI_VERSION;
    if (++c->generation == 0) { // 0 is what a fresh region holds
        c->generation = 1;
    }
    hc_store(&g->generation, c->generation);
    c->link = HC_LINK_ATTACHING;
    c->port.kick(c->port.ctx, HC_VECTOR_STATE);
}

static void look_for_host(struct hc_client *c)
{
    struct hc_host_page *h = host_page(c);
    uint32_t state = hc_load(&h->state);
    if (!host_is_known(c)) {
        return;
    }
    if (state == HC_HOST_GONE) {
        lose(c, HC_LOSS_GONE);
        return;
    }
    uint32_t epoch = hc_load(&h->epoch);
    bool fresh = epoch != c->epoch || !c->same_epoch_no_more;
    // Cut off was an earlier life, or an earlier epoch: attaching anew ends it.
    if ((state == HC_HOST_READY || state == HC_HOST_CUT_OFF) && epoch != 0 && fresh) {
        begin_attach(c, epoch);
    }
}

// A host of another epoch has to be asked anew. One that is ready but slow is waited for.
static void look_for_attachment(struct hc_client *c)
{
    struct hc_host_page *h = host_page(c);
    uint32_t state = hc_load(&h->state), epoch = hc_load(&h->epoch);
    if (state == HC_HOST_GONE) {
        lose(c, HC_LOSS_GONE);
    } else if (epoch != c->epoch || state == HC_HOST_RESTARTING || state == HC_HOST_ABSENT) {
        c->link = HC_LINK_DOWN;
        c->same_epoch_no_more = false;
        if (state == HC_HOST_READY && epoch != 0) {
            begin_attach(c, epoch);
        }
    } else if (state == HC_HOST_READY && hc_load(&h->attached) == c->generation) {
        c->features = __atomic_load_n(&h->features, __ATOMIC_RELAXED);
        c->link = HC_LINK_UP;
        c->loss = HC_LOSS_NONE;
        c->same_epoch_no_more = false;
        c->attaches++;
        c->news = true;
    }
}

// False: the link is down now.
static bool host_still_serves(struct hc_client *c)
{
    struct hc_host_page *h = host_page(c);
    uint32_t state = hc_load(&h->state);
    if (state == HC_HOST_READY && hc_load(&h->epoch) == c->epoch) {
        return true;
    }
    if (state == HC_HOST_CUT_OFF) {
        c->reason = hc_load(&h->reason);
        lose(c, HC_LOSS_CUT_OFF);
    } else {
        lose(c, state == HC_HOST_GONE ? HC_LOSS_GONE : HC_LOSS_RESTARTING);
    }
    return false;
}

// ---- submissions -------------------------------------------------------------------------------

// A call stands at its tag's place, or where there was room when that was taken.
static struct hc_call_in_flight *find_call(struct hc_client *c, uint64_t tag)
{
    unsigned at = (unsigned)(tag % HC_CALLS_IN_FLIGHT);
    if (tag && c->flight[at].tag == tag) {
        return &c->flight[at];
    }
    for (unsigned i = 0; tag && i < HC_CALLS_IN_FLIGHT; i++) {
        if (c->flight[i].tag == tag) {
            return &c->flight[i];
        }
    }
    return NULL;
}

static struct hc_call_in_flight *free_call(struct hc_client *c, uint64_t tag)
{
    unsigned at = (unsigned)(tag % HC_CALLS_IN_FLIGHT);
    for (unsigned i = 0; i < HC_CALLS_IN_FLIGHT; i++) {
        if (!c->flight[at].tag) {
            return &c->flight[at];
        }
        at = at + 1 < HC_CALLS_IN_FLIGHT ? at + 1 : 0;
    }
    return NULL;
}

// Reads what the host has taken only when there seems to be no room: its line is the host's.
static uint32_t ring_room(struct hc_client *c)
{
    if (c->submission_tail - c->submission_head < HC_SUBMISSION_COUNT) {
        return HC_SUBMISSION_COUNT - (c->submission_tail - c->submission_head);
    }
    uint32_t head = hc_load(&host_page(c)->submission_head);
    uint32_t taken = head - c->submission_head, waiting = c->submission_tail - c->submission_head;
    if (taken > waiting) { // it took more than there was, or went back
        lose(c, HC_LOSS_NONSENSE);
        return 0;
    }
    c->submission_head = head;
    return HC_SUBMISSION_COUNT - (waiting - taken);
}

int hc_submit(struct hc_client *c, uint16_t call, const uint64_t argument[6], uint32_t tokens,
              uint64_t *tag)
{
    if (c->link != HC_LINK_UP) {
        return -ENOLINK;
    }
    struct hc_call_in_flight *f = free_call(c, c->next_tag);
    uint32_t most = HC_COMPLETION_COUNT - HC_COMPLETION_RESERVE;
    if (!f || tokens >= most || c->promised + tokens + 1 > most) {
        return -EAGAIN;
    }
    uint32_t room = ring_room(c);
    if (c->link != HC_LINK_UP) {
        return -ENOLINK;
    }
    if (room == 0) {
        return -EAGAIN;
    }
    c->news |= c->flight_count == 0;
    *f = (struct hc_call_in_flight){.tag = c->next_tag++, .call = call, .tokens = tokens};
    c->flight_count++;
    c->promised += tokens + 1;
    struct hc_submission *s = (struct hc_submission *)(void *)(c->region + HC_SUBMISSIONS) +
                              c->submission_tail % HC_SUBMISSION_COUNT;
    s->call = call;
    s->flags = 0;
    s->zero = 0;
    s->tag = f->tag;
    memcpy(s->argument, argument, sizeof s->argument);
    hc_store(&guest_page(c)->submission_tail, ++c->submission_tail);
    if (hc_must_kick(&host_page(c)->submission_needs_kick)) {
        c->port.kick(c->port.ctx, HC_VECTOR_CALLS);
    }
    c->calls++;
    *tag = f->tag;
    return 0;
}

// ---- completions -------------------------------------------------------------------------------

// Checks a completion against what is in flight. False: it cannot be.
static bool account(struct hc_client *c, const struct hc_completion *x)
{
    struct hc_call_in_flight *f = find_call(c, x->tag);
    if (!f || f->call != x->call || x->kind > HC_TOKEN || x->status > 0 ||
        x->status <= -HC_STATUS_COUNT) {
        return false;
    }
    if (x->kind == HC_TOKEN) {
        if (f->tokens == 0) {
            return false;
        }
        f->tokens--;
        c->promised--;
        return true;
    }
    c->promised -= f->tokens + 1;
    c->flight_count--;
    f->tag = 0;
    return true;
}

static void hand_out(struct hc_client *c, const struct hc_completion *x)
{
    if (x->tag == c->ask_tag) {
        c->ask_tag = 0;
    } else if (x->tag == c->call_tag) {
        if (x->kind == HC_END) {
            c->answer = *x;
            c->answered = true;
        }
    } else if (c->deliver) {
        c->deliver(c->deliver_ctx, x);
    }
}

// Takes what is there, a bounded number. Returns how many.
static uint32_t take_completions(struct hc_client *c)
{
    uint32_t n = 0;
    while (c->link == HC_LINK_UP && n < HC_COMPLETIONS_A_LOOK) {
        uint32_t tail = hc_load(&host_page(c)->completion_tail);
        uint32_t waiting = tail - c->completion_head;
        if (waiting == 0) {
            break;
        }
        if (waiting > HC_COMPLETION_COUNT) {
            lose(c, HC_LOSS_NONSENSE);
            break;
        }
        struct hc_completion x, *at = (struct hc_completion *)(void *)(c->region + HC_COMPLETIONS) +
                                      c->completion_head % HC_COMPLETION_COUNT;
        // The host may write while this copies: what counts is the copy.
        hc_copy(&x, at, sizeof x);
        hc_store(&guest_page(c)->completion_head, ++c->completion_head);
        if (!account(c, &x)) {
            lose(c, HC_LOSS_NONSENSE);
            break;
        }
        n++;
        c->answers++;
        hand_out(c, &x);
    }
    c->news |= n > 0;
    return n;
}

static void note_news(struct hc_client *c, uint64_t at)
{
    if (c->news) {
        c->news = false;
        c->news_ns = at;
    }
}

// Asks a host that has not said anything for a while; one that does not answer is lost.
static void check_silence(struct hc_client *c)
{
    if (c->flight_count == 0) {
        return;
    }
    uint64_t at = now(c);
    note_news(c, at);
    if (c->ask_tag == 0) {
        static const uint64_t none[6];
        if (at >= c->news_ns + HC_PATIENCE_MS * MS) {
            // Without room to ask, the calls that wait in the ring are the question.
            uint64_t tag;
            c->ask_tag = hc_submit(c, HC_NOTHING, none, 0, &tag) == 0 ? tag : UINT64_MAX;
            c->ask_ns = at;
        }
    } else if (c->ask_tag == UINT64_MAX && c->news_ns > c->ask_ns) {
        c->ask_tag = 0;
    } else if (c->news_ns > c->ask_ns) { // busy with other answers, but there
        c->ask_ns = c->news_ns;
    } else if (at >= c->ask_ns + HC_ANSWER_MS * MS) {
        lose(c, HC_LOSS_SILENT);
    }
}

// A restored region holds the page of a host of the past, whatever it says; even one that was gone
// may be there again.
static void look_for_restore(struct hc_client *c)
{
    uint32_t found = machine_generation(c);
    if (found != c->machine_generation) {
        c->machine_generation = found;
        lose(c, HC_LOSS_RESTORED);
    }
}

enum hc_link hc_look(struct hc_client *c)
{
    look_for_restore(c);
    switch (c->link) {
    case HC_LINK_DOWN:
        look_for_host(c);
        if (c->link != HC_LINK_ATTACHING) {
            break;
        }
        // fall through
    case HC_LINK_ATTACHING:
        look_for_attachment(c);
        break;
    case HC_LINK_UP:
        take_completions(c);
        if (c->link == HC_LINK_UP && host_still_serves(c)) {
            check_silence(c);
        }
        break;
    case HC_LINK_GONE:
        break;
    }
    return c->link;
}

// ---- waiting -----------------------------------------------------------------------------------

static bool has_news(const struct hc_client *c)
{
    struct hc_host_page *h = host_page(c);
    if (c->link == HC_LINK_ATTACHING) {
        return hc_load(&h->attached) == c->generation && hc_load(&h->state) == HC_HOST_READY;
    }
    return c->link == HC_LINK_UP && (hc_load(&h->completion_tail) != c->completion_head ||
                                     hc_load(&h->state) != HC_HOST_READY);
}

// A few hundred looks, without the clock.
static bool look_for_a_moment(const struct hc_client *c)
{
    const uint32_t *tail = &host_page(c)->completion_tail;
    for (unsigned i = 0; i < LOOKS_A_TIME; i++) {
        if (hc_load(tail) != c->completion_head) {
            return true;
        }
        if (i >= LOOKS_AT_ONCE) { // a pause takes longer than a quick answer
            hc_pause();
        }
    }
    return false;
}

// The answer to one call alone, when it is the next completion and all is well with it: what
// take_completions does, in one go. False: nothing was taken.
static bool take_answer(struct hc_client *c, uint64_t tag, struct hc_completion *out)
{
    struct hc_call_in_flight *f = &c->flight[tag % HC_CALLS_IN_FLIGHT];
    uint32_t waiting = hc_load(&host_page(c)->completion_tail) - c->completion_head;
    if (f->tag != tag || waiting == 0 || waiting > HC_COMPLETION_COUNT) {
        return false;
    }
    hc_copy(out,
            (struct hc_completion *)(void *)(c->region + HC_COMPLETIONS) +
                c->completion_head % HC_COMPLETION_COUNT,
            sizeof *out);
    if (out->tag != tag || out->call != f->call || out->kind != HC_END || out->status > 0 ||
        out->status <= -HC_STATUS_COUNT) {
        return false;
    }
    hc_store(&guest_page(c)->completion_head, ++c->completion_head);
    c->promised -= f->tokens + 1;
    c->flight_count--;
    f->tag = 0;
    c->answers++;
    c->news = true;
    return true;
}

// Looks for spin_ns, at the clock only now and then. True: there is something.
static bool spin(const struct hc_client *c)
{
    if (c->spin_ns == 0 || c->link != HC_LINK_UP) {
        return has_news(c);
    }
    uint64_t until = 0;
    do {
        if (look_for_a_moment(c) || has_news(c)) {
            return true;
        }
        if (c->port.relax) {
            c->port.relax(c->port.ctx);
        }
        until = until ? until : now(c) + c->spin_ns;
    } while (now(c) < until);
    return false;
}

bool hc_sleep_begin(struct hc_client *c)
{
    if (spin(c)) {
        return false;
    }
    note_news(c, now(c));
    hc_announce_sleep(&guest_page(c)->completion_needs_kick);
    if (has_news(c)) {
        hc_announce_awake(&guest_page(c)->completion_needs_kick);
        return false;
    }
    return true;
}

void hc_sleep_end(struct hc_client *c)
{
    hc_announce_awake(&guest_page(c)->completion_needs_kick);
}

uint64_t hc_sleep_deadline(const struct hc_client *c, uint64_t now_ns)
{
    if (c->link != HC_LINK_UP) {
        return now_ns + HC_PATIENCE_MS * MS;
    }
    if (c->flight_count == 0) {
        return now_ns + HC_PATIENCE_MS * MS;
    }
    uint64_t at = c->ask_tag ? c->ask_ns + HC_ANSWER_MS * MS : c->news_ns + HC_PATIENCE_MS * MS;
    return at > now_ns ? at : now_ns + 1;
}

static void sleep_until(struct hc_client *c, uint64_t deadline)
{
    if (hc_sleep_begin(c)) {
        uint64_t own = hc_sleep_deadline(c, now(c));
        c->port.wait(c->port.ctx, own < deadline ? own : deadline);
        hc_sleep_end(c);
    }
}

int hc_attach_wait(struct hc_client *c, uint32_t timeout_ms)
{
    uint64_t deadline = now(c) + timeout_ms * MS;
    for (;;) {
        enum hc_link link = hc_look(c);
        if (link == HC_LINK_UP) {
            return 0;
        }
        if (link == HC_LINK_GONE) {
            return -ENOLINK;
        }
        if (now(c) >= deadline) {
            return host_is_known(c) ? -ETIMEDOUT : -ENODEV;
        }
        sleep_until(c, deadline);
    }
}

int hc_call(struct hc_client *c, uint16_t call, const uint64_t argument[6], uint32_t timeout_ms,
            struct hc_completion *out)
{
    uint64_t tag, deadline = 0;
    int rc = hc_submit(c, call, argument, 0, &tag);
    if (rc) {
        return rc;
    }
    if (c->spin_ns && look_for_a_moment(c) && take_answer(c, tag, out)) {
        return 0;
    }
    c->call_tag = tag;
    c->answered = false;
    for (uint32_t round = 0; !c->answered; round++) {
        if (hc_sleep_begin(c)) {
            uint64_t at = now(c), own = hc_sleep_deadline(c, at);
            deadline = deadline ? deadline : at + timeout_ms * MS;
            c->port.wait(c->port.ctx, own < deadline ? own : deadline);
            hc_sleep_end(c);
        } else if (round == 1 && !deadline) { // a quick answer takes no look at the clock
            deadline = now(c) + timeout_ms * MS;
        }
        if (hc_look(c) != HC_LINK_UP) {
            return -ENOLINK;
        }
        if (!c->answered && deadline && now(c) >= deadline) {
            uint64_t ignored, cancel[6] = {tag};
            c->call_tag = 0; // its answer goes to deliver, which knows no such tag
            hc_submit(c, HC_CANCEL, cancel, 0, &ignored);
            return -ETIMEDOUT;
        }
    }
    c->call_tag = 0;
    *out = c->answer;
    return 0;
}
