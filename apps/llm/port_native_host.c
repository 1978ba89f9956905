// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The surroundings of port.h on the host: threads for strands, sockets for the server.
#include "apps/llm/port_native.h"
#include "hypercall/guest/connect_host.h"
#include "libos/http_host.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static struct tn_pool *pool;

static struct strand {
    pthread_t thread;
    void (*run)(void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool woken; // under lock
} strands[PORT_STRAND_COUNT] = {
    {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER},
    {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER},
};

int port_native_init(unsigned threads)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pool = tn_pool_threads(threads ? threads : cores > 0 ? (unsigned)cores : 1);
    return pool ? 0 : -ENOMEM;
}

uint64_t port_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void port_random(void *out, size_t bytes)
{
    memset(out, 0, bytes);
    if (getrandom(out, bytes, 0) < 0)
        perror("getrandom");
}

int port_post(void (*fn)(void *arg), void *arg)
{
    return http_host_post(fn, arg);
}

static void *strand_main(void *arg)
{
    struct strand *s = arg;
    s->run(s->arg);
    return NULL;
}

int port_start(enum port_strand which, void (*run)(void *arg), void *arg)
{
    struct strand *s = &strands[which];
    s->run = run;
    s->arg = arg;
    return -pthread_create(&s->thread, NULL, strand_main, s);
}

void port_wake(enum port_strand which)
{
    struct strand *s = &strands[which];
    pthread_mutex_lock(&s->lock);
    s->woken = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void port_wait(enum port_strand which, uint32_t timeout_ms)
{
    struct strand *s = &strands[which];
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (timeout_ms ? timeout_ms : 1000) * 1000000u;
    until.tv_sec += (time_t)(ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    pthread_mutex_lock(&s->lock);
    while (!s->woken && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0) {
    }
    s->woken = false;
    pthread_mutex_unlock(&s->lock);
}

void port_yield(void)
{
}

void port_pause(void)
{
}

struct tn_pool *port_pool(void)
{
    return pool;
}

void *port_alloc(size_t bytes)
{
    void *block = aligned_alloc(64, (bytes + 63) / 64 * 64);
#ifdef TESSERA_TEST
    if (block)
        memset(block, 0xff, bytes); // the executor must not count on zeros: these are NaNs
#endif
    return block;
}

void port_free(void *block)
{
    free(block);
}

uint64_t port_free_bytes(void)
{
    const char *mb = getenv("LLM_NATIVE_MB"); // to try what a small machine would do
    long pages = sysconf(_SC_AVPHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (mb)
        return strtoull(mb, NULL, 10) << 20;
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 2 : 1u << 30;
}

static void wake_engine(void *ctx)
{
    (void)ctx;
    port_wake(PORT_ENGINE);
}

static void wait_for_host(void *ctx, uint64_t deadline_ns)
{
    uint64_t now = port_now_ns();
    (void)ctx;
    if (deadline_ns > now)
        port_wait(PORT_ENGINE, (uint32_t)((deadline_ns - now + 999999) / 1000000));
}

int port_offload_open(const char *where, struct hc_port *port, void **region, uint64_t *bytes,
                      char *error, size_t error_bytes)
{
    static struct hc_connection connection;
    if (!where)
        return -ENODEV;
    int rc = hc_connect(where, &connection, error, error_bytes);
    if (!rc)
        rc = hc_connection_watch(&connection, wake_engine, NULL);
    if (rc)
        return rc;
    *port = hc_connection_port(&connection);
    port->wait = wait_for_host;
    *region = connection.region;
    *bytes = connection.region_bytes;
    return 0;
}

void port_metrics(struct text *out)
{
    (void)out;
}

void port_log(enum port_level level, const char *format, ...)
{
    static const char *const name[] = {"error", "warning", "info"};
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", name[level]);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}
