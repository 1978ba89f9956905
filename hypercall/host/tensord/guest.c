// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One guest: attaching, taking submissions off its ring, posting completions. What the guest's page
// says is read once a look; an index that cannot be cuts the guest off.
#include "hypercall/host/tensord/worker.h"

#include "hypercall/host/tensord/calls_ops.h"
#include "hypercall/host/tensord/gpu.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

// How much of the io thread's time a guest gets.
enum {
    WINDOW_NS = 10000000,
    WINDOW_ATTACHES = 4,
    WINDOW_IDLE_RINGS = 100,
    SERVE_NS = 200000, // at once, and one call more
    MOST_CALL_NS = 500000,
};

static void kick(const struct guest *g, unsigned vector)
{
    const uint64_t one = 1;
    struct pollfd p = {.fd = g->to_guest[vector], .events = POLLOUT};
    // Full means that it is on its way already. Who holds the other end decides whether a write to
    // a full one waits, so it is looked at before.
    if (poll(&p, 1, 0) != 1 || write(g->to_guest[vector], &one, sizeof one) != sizeof one) {
        return;
    }
}

void guest_set_state(struct guest *g, enum hc_host_state state)
{
    hc_store(&g->mine->state, state);
    kick(g, HC_VECTOR_STATE);
}

// All of the host's page but its state. A machine that was restored brings an old one.
static void write_page(struct guest *g)
{
    g->mine->magic = HC_MAGIC;
    g->mine->version = HC_ABI_VERSION;
    g->mine->region_bytes = g->region_bytes;
    g->mine->features = worker_features(g->worker);
    g->mine->reason = 0;
    hc_store(&g->mine->submission_needs_kick, 1);
    hc_store(&g->mine->epoch, g->worker->options.epoch);
}

struct guest *guest_open(struct worker *w, const struct link_message *m, const int *fds,
                         char *error, size_t error_bytes)
{
    struct guest *g = calloc(1, sizeof *g);
    void *region = MAP_FAILED;
    if (g && m->bytes >= HC_LEAST_REGION) {
        region = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[LINK_FD_REGION], 0);
    }
    close(fds[LINK_FD_REGION]);
    if (!g || region == MAP_FAILED) {
        snprintf(error, error_bytes, "its region of %llu bytes cannot be mapped: %s",
                 (unsigned long long)m->bytes, g ? strerror(errno) : "no memory");
        for (int i = LINK_FD_FROM_GUEST; i < LINK_GUEST_FDS; i++) {
            close(fds[i]);
        }
        free(g);
        return NULL;
    }
    g->worker = w;
    g->number = m->guest;
    snprintf(g->name, sizeof g->name, "%.63s", m->name);
    g->policy = m->policy;
    for (int i = 0; i < HC_VECTOR_COUNT; i++) {
        g->from_guest[i] = fds[LINK_FD_FROM_GUEST + i];
        g->to_guest[i] = fds[LINK_FD_TO_GUEST + i];
    }
    g->region = region;
    g->region_bytes = m->bytes;
    g->mine = (struct hc_host_page *)(void *)(g->region + HC_HOST_PAGE);
    g->theirs = (const struct hc_guest_page *)(const void *)(g->region + HC_GUEST_PAGE);
    g->refused = hc_load(&g->theirs->generation); // of an older worker
    arena_open(&g->arena, g->region_bytes);
    hc_store(&g->mine->attached, 0);
    write_page(g);
    guest_set_state(g, HC_HOST_READY);
    return g;
}

void guest_close(struct guest *g)
{
    guest_forget(g);
    munmap(g->region, g->region_bytes);
    for (int i = 0; i < HC_VECTOR_COUNT; i++) {
        // Others hold the eventfds, too: closing ours does not take them from the epoll.
        epoll_ctl(g->worker->epoll, EPOLL_CTL_DEL, g->from_guest[i], NULL);
        close(g->from_guest[i]);
        close(g->to_guest[i]);
    }
    free(g);
}

void guest_forget(struct guest *g)
{
    for (struct run *r = g->runs, *next; r; r = next) {
        next = r->next;
        run_free(r);
    }
    while (g->openings) {
        struct opening *o = g->openings;
        g->openings = o->next;
        free(o);
    }
    for (uint32_t i = 0; i < HC_MOST_MODELS; i++) {
        weights_close_handle(g, &g->models[i]);
    }
    ops_close(g);
    arena_open(&g->arena, g->region_bytes);
    g->owed = 0;
    g->attached = 0;
    hc_store(&g->mine->attached, 0);
}

// Ends what computes for it as soon as no pass works on it.
static void stop_runs(struct guest *g)
{
    for (struct run *r = g->runs; r; r = r->next) {
        r->cancelled = true;
    }
    ops_stop(g);
}

static void guest_cut_off(struct guest *g, enum hc_status why)
{
    audit(g->worker, g, "cut-off", "status %d, generation %u", (int)why, g->attached);
    stop_runs(g);
    g->refused = g->attached;
    g->attached = 0;
    g->mine->reason = why;
    hc_store(&g->mine->attached, 0);
    guest_set_state(g, HC_HOST_CUT_OFF);
    if (g->in_pass == 0) {
        guest_forget(g);
    }
}

// ---- attaching ---------------------------------------------------------------------------------

static bool wants_attach(const struct guest *g, uint32_t generation)
{
    return generation != 0 && generation != g->attached && generation != g->refused;
}

static bool attach(struct guest *g, uint32_t generation)
{
    stop_runs(g);
    g->blocked = g->in_pass || g->window_attaches >= WINDOW_ATTACHES;
    if (g->blocked) {
        return false; // its memory is still written to: the pass's end comes back here
    }
    g->window_attaches++;
    guest_forget(g);
    uint32_t version = hc_load(&g->theirs->version);
    if (version != HC_ABI_VERSION) {
        g->attached = generation;
        guest_cut_off(g, HC_NOT_SUPPORTED);
        return true;
    }
    g->submission_head = g->completion_tail = g->completion_head = 0;
    g->kicked = false;
    write_page(g);
    hc_store(&g->mine->submission_head, 0);
    hc_store(&g->mine->completion_tail, 0);
    g->attached = generation;
    g->refused = 0;
    guest_set_state(g, HC_HOST_READY);
    hc_store(&g->mine->attached, generation);
    kick(g, HC_VECTOR_STATE);
    audit(g->worker, g, "attach", "generation %u", generation);
    return true;
}

// ---- completions -------------------------------------------------------------------------------

void guest_post(struct guest *g, uint64_t tag, uint16_t call, uint16_t kind, int status,
                uint64_t value0, uint64_t value1)
{
    if (!g->attached) {
        return;
    }
    struct hc_completion *ring = (struct hc_completion *)(void *)(g->region + HC_COMPLETIONS);
    ring[g->completion_tail % HC_COMPLETION_COUNT] = (struct hc_completion){
        .tag = tag, .call = call, .kind = kind, .status = -status, .value = {value0, value1}};
    g->completion_tail++;
    g->owed -= g->owed > 0;
    hc_store(&g->mine->completion_tail, g->completion_tail);
    g->untold = true;
}

void guest_tell(struct guest *g)
{
    if (!g->untold) {
        return;
    }
    g->untold = false;
    if (!hc_must_kick(&g->theirs->completion_needs_kick)) {
        return;
    }
    // Woken for this completion_head already: it looks at the ring before it sleeps again.
    uint32_t head = hc_load(&g->theirs->completion_head);
    if (!g->kicked || head != g->kicked_at) {
        g->kicked = true;
        g->kicked_at = head;
        kick(g, HC_VECTOR_CALLS);
    }
}

// What the guest has taken. False: more than there was, or less than before.
static bool read_head(struct guest *g)
{
    uint32_t head = hc_load(&g->theirs->completion_head);
    if (head - g->completion_head > g->completion_tail - g->completion_head) {
        return false;
    }
    g->completion_head = head;
    return true;
}

// Completions that could be posted now beside those that are owed. Negative: the index cannot be.
// The guest's line is read before an answer only when what it had taken earlier is not enough.
static int64_t room(struct guest *g)
{
    if (g->completion_tail - g->completion_head + g->owed >= HC_COMPLETION_COUNT / 2 &&
        !read_head(g)) {
        return -1;
    }
    return (int64_t)HC_COMPLETION_COUNT - (g->completion_tail - g->completion_head) - g->owed;
}

// ---- submissions -------------------------------------------------------------------------------

static void look_at_window(struct guest *g, uint64_t now)
{
    if ((int64_t)(now - g->window_began) > WINDOW_NS) {
        g->window_began = now;
        g->window_calls = g->window_attaches = g->idle_rings = 0;
        g->window_ns = 0;
        if (g->quiet) {
            guest_listen(g, true);
        }
    }
}

static bool is_alone(const struct guest *g)
{
    for (uint32_t i = 0; i < g->worker->guest_count; i++) {
        const struct guest *other = g->worker->guests[i];
        if (other != g && other->attached) {
            return false;
        }
    }
    return true;
}

// Its limit of calls, or half of the io thread's time while others may want it.
static bool has_had_enough(const struct guest *g)
{
    return (g->policy.calls_per_second && g->window_calls > g->policy.calls_per_second / 100) ||
           (g->window_ns > WINDOW_NS / 2 && !is_alone(g));
}

void guest_listen(struct guest *g, bool on)
{
    g->quiet = !on;
    for (int i = 0; i < HC_VECTOR_COUNT; i++) {
        // Each ring is an event, and nobody reads the counter: it is the guest's, too, who could
        // leave a reader waiting.
        struct epoll_event e = {.events = on ? EPOLLIN | EPOLLET : 0, .data.fd = g->from_guest[i]};
        if (epoll_ctl(g->worker->epoll, EPOLL_CTL_MOD, e.data.fd, &e) && errno == ENOENT) {
            epoll_ctl(g->worker->epoll, EPOLL_CTL_ADD, e.data.fd, &e);
        }
    }
}

void guest_rang(struct guest *g)
{
    if (!guest_has_news(g) && ++g->idle_rings > WINDOW_IDLE_RINGS) {
        guest_listen(g, false);
    }
}

static bool tag_is_taken(const struct guest *g, uint64_t tag)
{
    for (const struct run *r = g->runs; r; r = r->next) {
        if (r->tag == tag) {
            return true;
        }
    }
    for (const struct opening *o = g->openings; o; o = o->next) {
        if (o->tag == tag) {
            return true;
        }
    }
    return ops_has_tag(g, tag);
}

static void refuse(struct guest *g, const struct hc_submission *s, int status)
{
    g->statistics.refused++;
    audit(g->worker, g, "refused", "call %u, status %d", s->call, status);
    g->owed++; // out of HC_COMPLETION_RESERVE
    guest_post(g, s->tag, s->call, HC_END, status, 0, 0);
}

static void answer(struct guest *g, const struct hc_submission *s, int64_t free_room)
{
    uint64_t value[2] = {0, 0};
    bool later = false;
    int status = HC_OK;
    g->statistics.calls++;
    uint32_t owes = call_owes(g, s);
    if (s->zero || s->flags || s->call >= HC_CALL_COUNT || owes == 0) {
        status = HC_BAD_CALL;
    } else if (tag_is_taken(g, s->tag)) {
        status = HC_DUPLICATE_TAG;
    } else if (free_room - HC_COMPLETION_RESERVE < (int64_t)owes) {
        status = HC_BUSY;
    } else {
        g->owed += owes;
        status = call_run(g, s, value, &later);
        g->owed -= status ? owes : 0;
    }
    if (status) {
        refuse(g, s, status);
    } else if (!later) {
        guest_post(g, s->tag, s->call, HC_END, HC_OK, value[0], value[1]);
    }
}

bool guest_has_news(const struct guest *g)
{
    if (g->blocked) {
        return false;
    }
    if (g->attached && hc_load(&g->theirs->submission_tail) != g->submission_head) {
        return true;
    }
    return wants_attach(g, hc_load(&g->theirs->generation));
}

bool guest_serve(struct guest *g, uint32_t most)
{
    if (g->leaving) {
        return false;
    }
    uint32_t generation = hc_load(&g->theirs->generation);
    uint64_t begun = now_ns(), at = begun;
    g->blocked = false;
    look_at_window(g, at);
    if (wants_attach(g, generation)) {
        return attach(g, generation);
    }
    if (!g->attached) {
        if (g->run_count && g->in_pass == 0) { // cut off while a pass worked on it
            guest_forget(g);
        }
        return false;
    }
    uint32_t waiting = hc_load(&g->theirs->submission_tail) - g->submission_head, n = 0;
    if (waiting > HC_SUBMISSION_COUNT) {
        guest_cut_off(g, HC_BROKEN_RING);
        return true;
    }
    for (; n < waiting && n < most && at - begun < SERVE_NS && g->attached; n++) {
        int64_t free_room = room(g);
        if (free_room < 0) {
            guest_cut_off(g, HC_BROKEN_RING);
            return true;
        }
        if (free_room == 0 || has_had_enough(g)) { // it waits for itself
            g->blocked = true;
            break;
        }
        const struct hc_submission *ring =
            (const struct hc_submission *)(const void *)(g->region + HC_SUBMISSIONS);
        struct hc_submission s;
        hc_copy(&s, &ring[g->submission_head % HC_SUBMISSION_COUNT], sizeof s);
        g->submission_head++;
        g->window_calls++;
        hc_store(&g->mine->submission_head, g->submission_head);
        answer(g, &s, free_room);
        uint64_t now = now_ns();
        // What takes longer was not the call but somebody else's turn on this CPU.
        g->window_ns += now - at < MOST_CALL_NS ? now - at : MOST_CALL_NS;
        at = now;
    }
    guest_tell(g);
    if (n && g->attached && !read_head(g)) {
        guest_cut_off(g, HC_BROKEN_RING);
    }
    return n > 0;
}
