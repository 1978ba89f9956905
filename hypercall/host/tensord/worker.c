// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The worker's main: messages of the holder, rings of the guests. It spins for a moment after work
// and then sleeps in epoll until a doorbell rings.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/tensord/gpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SERVE_AT_ONCE = 32, BLOCKED_MS = 5, MOST_EVENTS = 64, LOOK_NS = 1000000 };

uint64_t now_ns(void)
{
    return monotonic_ns();
}

void worker_news(struct worker *w)
{
    const uint64_t one = 1;
    ssize_t n = write(w->news, &one, sizeof one);
    (void)n; // full: it is awake anyway
}

static struct guest *worker_find(struct worker *w, uint32_t number)
{
    for (uint32_t i = 0; i < w->guest_count; i++) {
        if (w->guests[i]->number == number && !w->guests[i]->leaving) {
            return w->guests[i];
        }
    }
    return NULL;
}

static void complain(const char *what, const char *why)
{
    fprintf(stderr, "tensord worker: %s: %s\n", what, why);
}

// ---- messages of the holder --------------------------------------------------------------------

static void watch(const struct worker *w, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &e)) {
        complain("epoll", strerror(errno));
    }
}

static void add_guest(struct worker *w, const struct link_message *m, const int *fds,
                      size_t fd_count)
{
    char error[200] = "too many guests";
    struct guest *g = NULL;
    if (fd_count == LINK_GUEST_FDS && w->guest_count < MOST_GUESTS) {
        g = guest_open(w, m, fds, error, sizeof error);
    } else {
        for (size_t i = 0; i < fd_count; i++) {
            close(fds[i]);
        }
    }
    if (!g) {
        complain(m->name, error);
        return;
    }
    g->virtual_ns = w->virtual_now;
    w->guests[w->guest_count++] = g;
    guest_listen(g, true);
    audit(w, g, "guest", "connected, region of %llu bytes", (unsigned long long)g->region_bytes);
}

static void stop(struct worker *w)
{
    w->stopping = true;
    for (uint32_t i = 0; i < w->guest_count; i++) {
        guest_set_state(w->guests[i], HC_HOST_GONE);
    }
    pthread_cond_broadcast(&w->work);
}

static void reply_text(struct worker *w, uint32_t request)
{
    struct link_message m = {.kind = LINK_TEXT, .request = request};
    pthread_mutex_unlock(&w->lock); // statistics_json takes it
    char *text = statistics_json(w);
    pthread_mutex_lock(&w->lock);
    link_send(w->options.link, &m, text ? text : "{}", NULL, 0);
    free(text);
}

static void take_message(struct worker *w, const struct link_message *m, const int *fds,
                         size_t fd_count)
{
    struct guest *g = worker_find(w, m->guest);
    struct link_message pong = {.kind = LINK_PONG};
    switch (m->kind) {
    case LINK_GUEST:
        add_guest(w, m, fds, fd_count);
        return;
    case LINK_GUEST_GONE:
        if (g) {
            audit(w, g, "guest", "gone");
            g->leaving = true;
            for (struct run *r = g->runs; r; r = r->next) {
                r->cancelled = true;
            }
        }
        break;
    case LINK_WEIGHTS:
        if (fd_count == 1) {
            weights_add(w, m, fds[0]);
            return;
        }
        break;
    case LINK_NO_WEIGHTS:
        weights_missing(w, &m->identity);
        break;
    case LINK_STATISTICS:
        reply_text(w, m->request);
        break;
    case LINK_PING:
        link_send(w->options.link, &pong, NULL, NULL, 0);
        break;
    case LINK_STOP:
        stop(w);
        break;
    default:
        break;
    }
    for (size_t i = 0; i < fd_count; i++) {
        close(fds[i]);
    }
}

static void take_messages(struct worker *w)
{
    struct link_message m;
    int fds[LINK_MOST_FDS];
    size_t fd_count;
    char *text;
    int rc;
    while ((rc = link_receive(w->options.link, &m, &text, fds, &fd_count)) > 0) {
        take_message(w, &m, fds, fd_count);
        free(text);
    }
    if (rc < 0) { // without a holder nobody keeps the regions: the guests go on alone
        complain("the holder has ended", strerror(-rc));
        stop(w);
    }
}

// ---- rings -------------------------------------------------------------------------------------

static bool serve_guests(struct worker *w)
{
    bool busy = false;
    for (uint32_t i = 0; i < w->guest_count; i++) {
        struct guest *g = w->guests[i];
        busy |= guest_serve(g, SERVE_AT_ONCE);
        if (g->leaving && g->in_pass == 0) {
            w->guests[i--] = w->guests[--w->guest_count];
            guest_close(g);
        }
    }
    weights_progress(w);
    return busy;
}

static bool anybody_has_news(const struct worker *w)
{
    for (uint32_t i = 0; i < w->guest_count; i++) {
        if (guest_has_news(w->guests[i])) {
            return true;
        }
    }
    return false;
}

static bool spin(const struct worker *w, uint64_t until)
{
    enum { LOOKS = 32 };
    do {
        for (int i = 0; i < LOOKS; i++) {
            if (anybody_has_news(w)) {
                return true;
            }
            hc_pause();
        }
    } while (now_ns() < until);
    return false;
}

// True: somebody came in the last moment.
static bool announce_sleep(struct worker *w, bool *blocked)
{
    *blocked = false;
    for (uint32_t i = 0; i < w->guest_count; i++) {
        hc_announce_sleep(&w->guests[i]->mine->submission_needs_kick);
        *blocked |= w->guests[i]->blocked || w->guests[i]->quiet;
    }
    return anybody_has_news(w);
}

static void announce_awake(struct worker *w)
{
    for (uint32_t i = 0; i < w->guest_count; i++) {
        hc_announce_awake(&w->guests[i]->mine->submission_needs_kick);
    }
}

// Whose doorbells rang; true: the holder has sent something.
static bool take_events(struct worker *w, const struct epoll_event *events, int n)
{
    bool messages = false;
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        messages |= fd == w->options.link;
        for (uint32_t j = 0; j < w->guest_count; j++) {
            const int *from = w->guests[j]->from_guest;
            if (fd == from[HC_VECTOR_CALLS] || fd == from[HC_VECTOR_STATE]) {
                guest_rang(w->guests[j]);
            }
        }
    }
    return messages;
}

static void loop(struct worker *w)
{
    uint64_t spin_until = 0, looked_ns = 0;
    bool messages = true;
    while (!w->stopping) {
        struct epoll_event events[MOST_EVENTS];
        pthread_mutex_lock(&w->lock);
        if (messages) {
            take_messages(w);
        }
        bool busy = serve_guests(w), blocked;
        pthread_mutex_unlock(&w->lock);
        if (w->stopping) {
            break;
        }
        messages = false;
        if (busy) {
            spin_until = now_ns() + w->options.spin_us * 1000ull;
        }
        int timeout = 0;
        bool asleep = !spin(w, spin_until);
        if (asleep) {
            timeout = announce_sleep(w, &blocked) ? 0 : blocked ? BLOCKED_MS : -1;
        } else if (now_ns() - looked_ns < LOOK_NS) {
            continue; // doorbells that ring all the same, and messages, can wait for a moment
        }
        int n = epoll_wait(w->epoll, events, MOST_EVENTS, timeout);
        looked_ns = now_ns();
        if (asleep) {
            announce_awake(w);
        }
        messages = take_events(w, events, n);
    }
}

// Who waits for the lock gets it from who lets go: the io thread, busy with a guest that floods,
// must not come back to it before the compute thread.
static int lock_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t a;
    int rc = pthread_mutexattr_init(&a);
    rc = rc ? rc : pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
    return rc ? rc : pthread_mutex_init(lock, &a);
}

int worker_main(const struct worker_options *o)
{
    static struct worker w;
    char error[200];
    pthread_t compute;
    w.options = *o;
    w.started_ns = now_ns();
    if (lock_init(&w.lock)) {
        complain("start", "no lock");
        return 1;
    }
    pthread_cond_init(&w.work, NULL);
    w.epoll = epoll_create1(EPOLL_CLOEXEC);
    w.news = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w.pool = o->threads > 1 ? tn_pool_threads(o->threads) : &tn_pool_single;
    if (w.epoll < 0 || w.news < 0 || !w.pool) {
        complain("start", "no memory");
        return 1;
    }
    watch(&w, o->link, EPOLLIN);
    watch(&w, w.news, EPOLLIN | EPOLLET); // never read: each write is an event
    gpu_open(&w);
    if (!o->no_sandbox && sandbox_enter(w.gpu != NULL, error, sizeof error)) {
        complain("sandbox", error);
        return 1;
    }
    if (o->metrics >= 0 && metrics_start(&w, error, sizeof error)) {
        complain("metrics", error);
    }
    if (pthread_create(&compute, NULL, compute_thread, &w)) {
        complain("start", "no thread");
        return 1;
    }
    loop(&w);
    pthread_join(compute, NULL);
    return 0;
}
