// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Guests are made and started in threads, several at once; the agent's loop goes on meanwhile. A
// job belongs to its thread until `done`; only `hurry` is the loop's to set before that. What it
// did is taken over by the loop, before a look, so that no thread touches what the agent remembers.
// Port and name of a guest are claimed as between runs of `tessera` (../guest/lock.c); a killed
// agent's jobs end with it, and the next one finds their guests off, or not at all.
#include "hypercall/host/fleet/agent_parts.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

// Most of a start is spent waiting for libvirt and QEMU.
static size_t most_jobs(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), n = 2 * cpus;
    return n < 2 ? 2 : n > AGENT_JOBS ? AGENT_JOBS : (size_t)n;
}

static void *work(void *context)
{
    static int (*const does[])(struct guest_host *,
                               struct agent_job *) = {[AGENT_MAKE] = agent_make,
                                                      [AGENT_START] = agent_start,
                                                      [AGENT_REHEARSE] = agent_rehearse,
                                                      [AGENT_DESTROY] = agent_destroy};
    struct agent_job *j = context;
    j->host.stop = &j->hurry;
    j->rc = j->host.libvirt ? guest_host_reopen(&j->host, j->error, sizeof j->error)
                            : guest_host_open(&j->host, j->uri, false, j->error, sizeof j->error);
    if (!j->rc) {
        j->rc = does[j->kind](&j->host, j);
    }
    j->host.stop = NULL;
    atomic_store_explicit(&j->done, true, memory_order_release); // all that is written above
    eventfd_write(j->events, 1);
    return NULL;
}

static bool start_thread(struct agent_job *j)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the loop's
    int rc = pthread_create(&j->thread, NULL, work, j);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0;
}

// No kind may keep all others waiting: guests of a version of which none was made yet may take long
// (a model that is read for its hash, or copied), as rehearsals do.
static bool has_room(const struct agent *a, const struct agent_job *wanted, bool slow)
{
    size_t most = most_jobs(), slow_ones = 0;
    for (size_t i = 0; i < a->job_count; i++) {
        slow_ones += a->jobs[i]->slow;
        if (slow && wanted->kind == AGENT_MAKE && a->jobs[i]->kind == AGENT_MAKE &&
            strcmp(a->jobs[i]->fleet, wanted->fleet) == 0 &&
            strcmp(a->jobs[i]->service, wanted->service) == 0 &&
            strcmp(a->jobs[i]->version, wanted->version) == 0) {
            return false; // the first one of a version is waited for
        }
    }
    return a->job_count < most && (!slow || slow_ones + 1 < most);
}

static void put_back(struct agent *a, const struct agent_job *j)
{
    if (j->host.libvirt) {
        a->idle[a->idle_count++] = j->host; // as many as jobs at most
    }
}

bool agent_job_begin(struct agent *a, const struct agent_job *wanted, bool slow)
{
    if (!has_room(a, wanted, slow)) {
        return false;
    }
    struct agent_job *j = malloc(sizeof *j);
    if (!j) {
        return false;
    }
    *j = *wanted;
    j->record = wanted->record ? strdup(wanted->record) : NULL;
    j->uri = a->uri;
    j->events = a->events;
    j->slow = slow;
    j->begun_ms = agent_now_ms();
    // A connection that lives is never closed (guest_host_close): jobs use those of earlier ones.
    j->host = a->idle_count ? a->idle[--a->idle_count] : (struct guest_host){0};
    if ((wanted->record && !j->record) || !start_thread(j)) {
        put_back(a, j);
        free(j->record);
        free(j);
        return false;
    }
    a->jobs[a->job_count++] = j;
    return true;
}

struct agent_job *agent_job_of(const struct agent *a, const char *guest)
{
    for (size_t i = 0; i < a->job_count; i++) {
        if (strcmp(a->jobs[i]->name, guest) == 0) {
            return a->jobs[i];
        }
    }
    return NULL;
}

size_t agent_jobs_making(const struct agent *a, const char *fleet)
{
    size_t n = 0;
    for (size_t i = 0; i < a->job_count; i++) {
        n += a->jobs[i]->kind == AGENT_MAKE && strcmp(a->jobs[i]->fleet, fleet) == 0;
    }
    return n;
}

bool agent_has_jobs(const struct agent *a, const char *fleet)
{
    for (size_t i = 0; i < a->job_count; i++) {
        const struct agent_job *j = a->jobs[i];
        if (strcmp(j->fleet, fleet) == 0 && !(j->kind == AGENT_MAKE && j->hurry)) {
            return true;
        }
    }
    return false;
}

void agent_jobs_hurry(struct agent *a, const char *fleet)
{
    for (size_t i = 0; i < a->job_count; i++) {
        if (strcmp(a->jobs[i]->fleet, fleet) == 0) {
            a->jobs[i]->hurry = 1;
        }
    }
}

// ---- what they did -----------------------------------------------------------------------------

static void take_made(struct agent_fleet *f, struct agent_service *s, const struct agent_job *j)
{
    struct agent_making gone = {0}, *m = &s->making[j->slot & 1];
    if (strcmp(m->version, j->version) != 0) { // meanwhile another version has its place
        m = &gone;
    }
    if (j->rc == 0) {
        agent_log("%s: %s starts (version %s)", f->name, j->name, j->version);
        memset(&m->backoff, 0, sizeof m->backoff);
        m->made = true;
        m->why[0] = 0;
    } else if (!j->hurry &&
               j->begun_ms >= m->failed_ms) { // those that were begun with it failed by the same
        m->failed_ms = agent_now_ms();
        m->made = false;
        backoff_failed(&m->backoff, m->failed_ms);
        agent_failed(f, s->name, j->version);
        snprintf(m->why, sizeof m->why, "%.280s", j->error);
    }
}

static void take_started(struct agent_fleet *f, struct agent_member *m, const struct agent_job *j)
{
    if (j->removed) {
        agent_log("%s: %s is gone, another is made: %s", f->name, m->name, j->error);
        return;
    }
    if (j->rc == -EINTR && j->hurry) {
        return;
    }
    if (j->rc) {
        backoff_failed(&m->backoff, agent_now_ms());
        agent_failed(f, j->service, j->version);
        snprintf(m->why, sizeof m->why, "%.280s", j->error);
        return;
    }
    m->why[0] = 0;
    m->from = j->from;
    m->start_ms = j->begun_ms;
    if (m->backoff.failures == j->failures) { // no look has seen its end meanwhile
        m->was_active = true;
    }
    agent_log("%s: %s is started again, %s", f->name, m->name, guest_from_name(j->from));
}

static void take_rehearsed(struct agent_fleet *f, struct agent_member *m, const struct agent_job *j)
{
    m->was_active = j->rc == 0 && j->stays;
    m->down_ms = 0;
    if (j->rc) {
        agent_log("%s: %s sleeps without a ready state: %s", f->name, m->name, j->error);
    } else if (j->stays) {
        m->from = j->from;
        m->start_ms = j->begun_ms;
        agent_log("%s: %s was to sleep, and is wanted: it serves", f->name, m->name);
    } else {
        agent_log("%s: %s sleeps; its ready state has %.1f MB", f->name, m->name,
                  (double)j->state_bytes / 1048576);
    }
}

static void take(struct agent *a, const struct agent_job *j)
{
    struct agent_fleet *f = NULL;
    for (size_t i = 0; i < a->fleet_count; i++) {
        f = strcmp(a->fleets[i].name, j->fleet) == 0 ? &a->fleets[i] : f;
    }
    if (!f) {
        return;
    }
    if (j->kind == AGENT_MAKE) {
        struct agent_service *s = agent_service(f, j->service);
        if (s) {
            take_made(f, s, j);
        }
        return;
    }
    for (size_t i = 0; i < f->member_count; i++) {
        struct agent_member *m = &f->members[i];
        if (strcmp(m->name, j->name) != 0) {
            continue;
        }
        if (j->kind == AGENT_START) {
            take_started(f, m, j);
        } else if (j->kind == AGENT_REHEARSE) {
            take_rehearsed(f, m, j);
        }
    }
}

static void forget(struct agent *a, struct agent_job *j)
{
    pthread_join(j->thread, NULL);
    put_back(a, j);
    free(j->record);
    free(j);
}

void agent_jobs_take(struct agent *a)
{
    for (size_t i = 0; i < a->job_count;) {
        struct agent_job *j = a->jobs[i];
        if (!atomic_load_explicit(&j->done, memory_order_acquire)) {
            i++;
            continue;
        }
        take(a, j);
        a->jobs[i] = a->jobs[--a->job_count];
        forget(a, j);
    }
}

bool agent_jobs_end(struct agent *a, long ms)
{
    for (uint64_t until = agent_now_ms() + (uint64_t)ms; a->job_count;) {
        for (size_t i = 0; i < a->job_count; i++) {
            a->jobs[i]->hurry = 1;
        }
        agent_jobs_take(a);
        if (agent_now_ms() > until) {
            break;
        }
        agent_sleep_ms(10);
    }
    return a->job_count == 0;
}
