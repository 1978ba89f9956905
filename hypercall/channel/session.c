// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sessions. The receiving end of a lane writes a hello: the sender's generation and a random
// number. The sender answers by writing the same number as its welcome, after its own words are as
// at the start. The lane lives while both stand there and the sender's generation is the one named.
// Who starts anew takes another generation first and clears its words after that, so that the other
// end never believes the cleared words to be the old session's.
#include "hypercall/channel/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define YIELDS      64u
#define SHORT_SLEEP 20000ull
#define LONG_SLEEP  1000000ull

int channel_say(struct channel *c, int error, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(c->reason, sizeof(c->reason), format, list);
    va_end(list);
    return error;
}

void channel_wait_begin(struct channel *c, struct wait *w, uint64_t timeout_ns)
{
    *w = (struct wait){c, timeout_ns, 0, 0};
}

// Spins, then lets others run, then sleeps for longer and longer.
bool channel_wait_more(struct wait *w)
{
    const struct channel_port *port = &w->c->port;
    uint32_t round = w->round++, spin = w->c->options.spin;
    if (w->timeout_ns == 0) {
        return false;
    }
    if (round == 0) {
        w->started_ns = port->now_ns(port->ctx);
    } else if ((round % 64 == 0 || round >= spin) &&
               port->now_ns(port->ctx) - w->started_ns >= w->timeout_ns) {
        return false;
    }
    if (round < spin) {
        __builtin_ia32_pause();
    } else if (round < spin + YIELDS) {
        port->rest(port->ctx, 0);
    } else {
        uint32_t longer = (round - spin - YIELDS) / 8;
        uint64_t ns = longer > 5 ? LONG_SLEEP : SHORT_SLEEP << longer;
        port->rest(port->ctx, ns > LONG_SLEEP ? LONG_SLEEP : ns);
    }
    return true;
}

static void clear_lane(struct lane *l, bool receives)
{
    if (receives) {
        store64(&l->sink->hello, 0);
        store64(&l->sink->head, 0);
        store64(&l->sink->returned, 0);
    } else {
        store64(&l->source->welcome, 0);
        store64(&l->source->tail, 0);
    }
    l->session = l->position = l->returned = l->seen = 0;
}

void channel_start_over(struct channel *c)
{
    struct hc_channel_end *e = &c->ends[c->end];
    uint32_t old = load32(&e->generation), next;
    do {
        next = (uint32_t)c->port.random(c->port.ctx);
    } while (next == 0 || next == old || next == c->generation);
    c->generation = next;
    store32(&e->generation, next);
    store32(&e->state, HC_END_OPEN);
    if (c->receives) {
        clear_lane(&c->in, true);
    }
    for (uint32_t i = 0; i < c->out_count; i++) {
        clear_lane(&c->out[i], false);
    }
    memset(c->in_slots, 0, c->format.slots * sizeof(*c->in_slots));
    memset(c->out_slots, 0, c->format.slots * sizeof(*c->out_slots));
    c->free_count = 0;
    c->lent = c->sent = c->held = 0;
    // The slots of a pipe are its first end's.
    for (uint32_t i = c->format.slots; i-- > 0 && c->out_count && !c->passes;) {
        c->free_slots[c->free_count++] = i;
    }
    c->serial++;
    c->fresh = true;
}

int channel_end_session(struct channel *c, int error)
{
    c->live = false;
    if (error == -ESTALE) { // nothing in the block is ours any more
        c->closed = error;
        return error;
    }
    if (error == -EPROTO) {
        c->closed = error;
        store32(&c->ends[c->end].state, HC_END_CLOSED);
    }
    if (c->receives) {
        store64(&c->in.sink->hello, 0);
        c->in.session = 0;
    }
    for (uint32_t i = 0; i < c->out_count; i++) {
        store64(&c->out[i].source->welcome, 0);
        c->out[i].session = 0;
    }
    return error;
}

bool channel_lane_lives(const struct channel *c, const struct lane *l)
{
    if (l->session == 0) {
        return false;
    }
    if (l != &c->in) {
        return load64(&l->sink->hello) == l->session;
    }
    return load32(&c->ends[l->peer].generation) == l->session >> 32 &&
           load64(&l->source->welcome) == l->session;
}

int channel_violation(struct channel *c, struct lane *l, const char *format, ...)
{
    bool lives = channel_lane_lives(c, l);
    va_list list;
    va_start(list, format);
    int n = snprintf(c->reason, sizeof(c->reason), "end %u broke the rules: ", l->peer);
    vsnprintf(c->reason + n, sizeof(c->reason) - (size_t)n, format, list);
    va_end(list);
    if (c->hub) {
        l->banned = lives;
        channel_cut(c, l);
        return 0;
    }
    if (!lives) {
        channel_say(c, 0, "end %u has started anew", l->peer);
    }
    return channel_end_session(c, lives ? -EPROTO : -ENOTCONN);
}

static int check_owner(struct channel *c)
{
    if (load64(&c->ends[c->end].owner) == c->owner) {
        return 0;
    }
    channel_say(c, 0, "another process has taken end %u over", c->end);
    return channel_end_session(c, -ESTALE);
}

int channel_begin(struct channel *c)
{
    if (c->port.look) {
        c->port.look(c->port.ctx);
    }
    return c->closed ? c->closed : c->live ? 0 : -ENOTCONN;
}

int channel_check_lanes(struct channel *c)
{
    int e = check_owner(c);
    if (e) {
        return e;
    }
    if (c->hub) {
        channel_admit(c);
        return 0;
    }
    const struct lane *broken = c->receives && !channel_lane_lives(c, &c->in) ? &c->in : NULL;
    if (!broken && c->out_count && !channel_lane_lives(c, &c->out[0])) {
        broken = &c->out[0];
    }
    if (broken == NULL) {
        return 0;
    }
    bool closed = load32(&c->ends[broken->peer].state) == HC_END_CLOSED;
    channel_say(c, 0, "end %u has %s", broken->peer, closed ? "closed" : "started anew");
    return channel_end_session(c, closed ? -ESHUTDOWN : -ENOTCONN);
}

void channel_watch(struct channel *c, struct lane *l)
{
    l->beat = load64(&c->ends[l->peer].heartbeat);
    l->looked_ns = c->port.now_ns(c->port.ctx);
    l->silent_ns = 0;
}

// One look counts for a quarter of the time at most: what stands still may have been this end.
int channel_lane_gone(struct channel *c, struct lane *l)
{
    const struct hc_channel_end *e = &c->ends[l->peer];
    if (load32(&e->state) == HC_END_CLOSED) {
        return -ESHUTDOWN;
    }
    if (load64(&e->heartbeat) != l->beat) {
        channel_watch(c, l);
        return 0;
    }
    uint64_t now = c->port.now_ns(c->port.ctx), since = now - l->looked_ns;
    uint64_t most = c->options.dead_ns / 4;
    l->looked_ns = now;
    l->silent_ns += since > most ? most : since;
    return l->silent_ns >= c->options.dead_ns ? -EPIPE : 0;
}

int channel_say_gone(struct channel *c, const struct lane *l, int gone)
{
    if (gone == -ESHUTDOWN) {
        return channel_say(c, gone, "end %u has closed", l->peer);
    }
    channel_say(c, gone, "end %u has not beaten for %llu ms", l->peer,
                (unsigned long long)(l->silent_ns / 1000000));
    return channel_end_session(c, gone);
}

// The receiving side. True: the lane lives.
static bool greet(struct channel *c, struct lane *l)
{
    const struct hc_channel_end *e = &c->ends[l->peer];
    uint32_t theirs = load32(&e->generation);
    if (theirs == 0 || load32(&e->state) != HC_END_OPEN) {
        return false;
    }
    if (l->session >> 32 != theirs) {
        clear_lane(l, true);
        uint32_t random;
        do {
            random = (uint32_t)c->port.random(c->port.ctx);
        } while (random == 0);
        l->session = (uint64_t)theirs << 32 | random;
        store64(&l->sink->hello, l->session);
    }
    return load64(&l->source->welcome) == l->session;
}

// The sending side; nothing has been sent in this session yet.
static bool answer(struct channel *c, struct lane *l)
{
    uint64_t hello = load64(&l->sink->hello);
    if (hello >> 32 != c->generation || (uint32_t)hello == 0) {
        return false;
    }
    if (hello != l->session) {
        clear_lane(l, false);
        l->session = hello;
        store64(&l->source->welcome, hello);
    }
    return true;
}

static uint32_t missing_peer(struct channel *c)
{
    if (c->hub) {
        channel_admit(c);
        channel_cut_gone(c);
        return channel_receivers(c) ? UINT32_MAX : 1;
    }
    uint32_t missing = UINT32_MAX;
    if (c->receives && !greet(c, &c->in)) {
        missing = c->in.peer;
    }
    if (c->out_count && !answer(c, &c->out[0])) {
        missing = c->out[0].peer;
    }
    return missing;
}

int channel_connect(struct channel *c, uint64_t timeout_ns)
{
    struct wait w;
    uint32_t missing;
    if (c->closed) {
        return c->closed;
    }
    int e = check_owner(c);
    if (e) {
        return e;
    }
    if (!c->hub && !c->fresh) {
        channel_start_over(c);
    }
    c->live = c->hub;
    channel_wait_begin(c, &w, timeout_ns);
    while ((missing = missing_peer(c)) != UINT32_MAX) {
        if (!channel_wait_more(&w)) {
            return channel_say(c, -ETIMEDOUT, "end %u is not there", missing);
        }
        e = check_owner(c);
        if (e) {
            return e;
        }
    }
    if (c->receives) {
        channel_watch(c, &c->in);
    }
    for (uint32_t i = 0; !c->hub && i < c->out_count; i++) {
        channel_watch(c, &c->out[i]);
    }
    c->live = true;
    c->fresh = false;
    return channel_say(c, 0, "connected");
}
