// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The surroundings of port.h on the host: a thread for the engine, sockets for the server.
#include "apps/llm/port_native.h"
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
static pthread_t engine_thread;
static pthread_mutex_t wake_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake_changed = PTHREAD_COND_INITIALIZER;
static bool woken; // under wake_lock

static struct {
    void (*run)(void *arg);
    void *arg;
} engine;

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

static void *engine_main(void *arg)
{
    (void)arg;
    engine.run(engine.arg);
    return NULL;
}

int port_engine_start(void (*run)(void *arg), void *arg)
{
    engine.run = run;
    engine.arg = arg;
    return -pthread_create(&engine_thread, NULL, engine_main, NULL);
}

void port_engine_wake(void)
{
    pthread_mutex_lock(&wake_lock);
    woken = true;
    pthread_cond_signal(&wake_changed);
    pthread_mutex_unlock(&wake_lock);
}

void port_engine_wait(uint32_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (timeout_ms ? timeout_ms : 1000) * 1000000u;
    until.tv_sec += (time_t)(ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    pthread_mutex_lock(&wake_lock);
    while (!woken && pthread_cond_timedwait(&wake_changed, &wake_lock, &until) == 0) {
    }
    woken = false;
    pthread_mutex_unlock(&wake_lock);
}

void port_engine_yield(void)
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
