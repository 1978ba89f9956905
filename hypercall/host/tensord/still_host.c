// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A worker without threads and processes, for tests.
#include "hypercall/host/tensord/still_host.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

const struct guest_policy still_policy = {
    .weight = 100, .most_runs = HC_MOST_RUNS, .memory_bytes = 64 << 20};

struct still *still_open(void)
{
    struct still *s = calloc(1, sizeof *s);
    int pair[2];
    assert_non_null(s);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    s->w.options = (struct worker_options){.threads = 1,
                                           .isa = tn_isa_best(),
                                           .link = pair[0],
                                           .audit = -1,
                                           .metrics = -1,
                                           .epoch = 1};
    s->holder = pair[1];
    s->w.epoll = epoll_create1(EPOLL_CLOEXEC);
    s->w.news = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    s->w.pool = &tn_pool_single;
    assert_true(s->w.epoll >= 0 && s->w.news >= 0);
    pthread_mutex_init(&s->w.lock, NULL);
    pthread_cond_init(&s->w.work, NULL);
    pthread_mutex_lock(&s->w.lock);
    return s;
}

void still_close(struct still *s)
{
    for (uint32_t i = 0; i < s->w.guest_count; i++) {
        guest_close(s->w.guests[i]);
    }
    for (uint32_t i = 0; i < s->count; i++) {
        munmap(s->guests[i].region, STILL_REGION);
        close(s->guests[i].memory);
        for (int j = 0; j < 2 * HC_VECTOR_COUNT; j++) {
            close(s->guests[i].rings[j]);
        }
    }
    pthread_mutex_unlock(&s->w.lock);
    close(s->w.epoll);
    close(s->w.news);
    close(s->w.options.link);
    close(s->holder);
    free(s);
}

struct still_guest *still_come(struct still *s, const struct guest_policy *policy)
{
    struct link_message m = {.guest = s->count + 1, .bytes = STILL_REGION, .policy = *policy};
    struct still_guest *g = &s->guests[s->count];
    char error[200];
    int fds[LINK_GUEST_FDS];
    assert_true(s->count < STILL_GUESTS);
    g->memory = memfd_create("region", MFD_CLOEXEC);
    assert_int_equal(ftruncate(g->memory, STILL_REGION), 0);
    g->region = mmap(NULL, STILL_REGION, PROT_READ | PROT_WRITE, MAP_SHARED, g->memory, 0);
    assert_true(g->region != MAP_FAILED);
    g->host = (struct hc_host_page *)(void *)(g->region + HC_HOST_PAGE);
    g->page = (struct hc_guest_page *)(void *)(g->region + HC_GUEST_PAGE);
    fds[LINK_FD_REGION] = fcntl(g->memory, F_DUPFD_CLOEXEC, 0);
    for (int i = 0; i < 2 * HC_VECTOR_COUNT; i++) {
        g->rings[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        fds[LINK_FD_FROM_GUEST + i] = fcntl(g->rings[i], F_DUPFD_CLOEXEC, 0);
    }
    snprintf(m.name, sizeof m.name, "g%u", s->count);
    g->guest = guest_open(&s->w, &m, fds, error, sizeof error);
    assert_non_null(g->guest);
    guest_listen(g->guest, true);
    s->w.guests[s->w.guest_count++] = g->guest;
    s->count++;
    return g;
}

void still_attach(struct still_guest *g)
{
    g->page->submission_tail = g->page->completion_head = g->head = 0;
    g->page->version = HC_ABI_VERSION;
    hc_store(&g->page->generation, g->page->generation + 1);
}

void still_submit(struct still_guest *g, uint16_t call, uint64_t a, uint64_t b)
{
    struct hc_submission *ring = (void *)(g->region + HC_SUBMISSIONS);
    uint32_t at = g->page->submission_tail;
    ring[at % HC_SUBMISSION_COUNT] =
        (struct hc_submission){.call = call, .tag = at + 1, .argument = {a, b}};
    hc_store(&g->page->submission_tail, at + 1);
}

int still_answer(struct still_guest *g, uint64_t value[2])
{
    const struct hc_completion *ring = (const void *)(g->region + HC_COMPLETIONS);
    while (g->head != hc_load(&g->host->completion_tail)) {
        struct hc_completion c = ring[g->head % HC_COMPLETION_COUNT];
        hc_store(&g->page->completion_head, ++g->head);
        if (c.kind == HC_END) {
            if (value) {
                memcpy(value, c.value, sizeof c.value);
            }
            return -c.status;
        }
    }
    return -1;
}
