// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Channels for a Linux process: the file, its mapping, and the thread that beats.
#include "hypercall/channel/channel_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct channel_linux {
    struct channel *channel;
    void *block;
    size_t bytes;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended; // with lock
    bool end;             // under lock
};

static uint64_t now_ns(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t random64(void *ctx)
{
    uint64_t r;
    (void)ctx;
    if (getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r)) {
        r = now_ns(NULL) * 0x9e3779b97f4a7c15ul ^ (uint64_t)(unsigned)getpid();
    }
    return r;
}

static void rest(void *ctx, uint64_t ns)
{
    (void)ctx;
    if (ns == 0) {
        sched_yield();
        return;
    }
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&t, NULL);
}

const struct channel_port channel_linux_port = {NULL, now_ns, random64, rest, NULL, NULL};

static int fail(const char *path, const char *what, char *error, size_t error_bytes)
{
    int e = errno;
    snprintf(error, error_bytes, "%s: cannot %s: %s", path, what, strerror(e));
    return -e;
}

int channel_linux_create(const char *path, uint64_t bytes, const struct channel_format *format,
                         char *error, size_t error_bytes)
{
    struct stat s;
    void *block;
    int e, fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(path, "open it", error, error_bytes);
    }
    // Two that create it take turns.
    if (flock(fd, LOCK_EX) != 0 || fstat(fd, &s) != 0 ||
        (s.st_size == 0 && ftruncate(fd, (off_t)bytes) != 0)) {
        e = fail(path, "make it so large", error, error_bytes);
        goto out;
    }
    if (s.st_size != 0 && (uint64_t)s.st_size != bytes) {
        snprintf(error, error_bytes, "%s: it has %llu bytes already, not %llu", path,
                 (unsigned long long)s.st_size, (unsigned long long)bytes);
        e = -EEXIST;
        goto out;
    }
    block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (block == MAP_FAILED) {
        e = fail(path, "map it", error, error_bytes);
        goto out;
    }
    e = channel_create(block, bytes, format, error, error_bytes);
    munmap(block, bytes);
out:
    close(fd);
    return e;
}

static void *beat(void *arg)
{
    struct channel_linux *l = arg;
    struct timespec at;
    pthread_mutex_lock(&l->lock);
    while (!l->end && channel_beat(l->channel) == 0) {
        clock_gettime(CLOCK_MONOTONIC, &at);
        at.tv_nsec += (long)CHANNEL_BEAT_NS;
        at.tv_sec += at.tv_nsec / 1000000000;
        at.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&l->ended, &l->lock, &at);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static int start_beating(struct channel_linux *l)
{
    pthread_condattr_t a;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&l->ended, &a);
    pthread_condattr_destroy(&a);
    return -pthread_create(&l->thread, NULL, beat, l);
}

int channel_linux_open(const char *path, uint32_t end, const struct channel_options *options,
                       struct channel_linux **out, char *error, size_t error_bytes)
{
    struct stat s;
    int e, fd = open(path, O_RDWR | O_CLOEXEC);
    struct channel_linux *l = calloc(1, sizeof(*l));
    if (l == NULL || fd < 0 || fstat(fd, &s) != 0) {
        e = fail(path, "open it", error, error_bytes);
        goto fail;
    }
    l->bytes = (size_t)s.st_size;
    l->block = mmap(NULL, l->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (l->block == MAP_FAILED) {
        e = fail(path, "map it", error, error_bytes);
        goto fail;
    }
    e = channel_attach(l->block, l->bytes, end, &channel_linux_port, options, &l->channel, error,
                       error_bytes);
    if (e) {
        munmap(l->block, l->bytes);
        goto fail;
    }
    e = start_beating(l);
    if (e) {
        snprintf(error, error_bytes, "%s: no thread: %s", path, strerror(-e));
        channel_close(l->channel);
        munmap(l->block, l->bytes);
        goto fail;
    }
    close(fd);
    *out = l;
    return 0;
fail:
    if (fd >= 0) {
        close(fd);
    }
    free(l);
    return e;
}

struct channel *channel_linux_handle(struct channel_linux *l)
{
    return l->channel;
}

void channel_linux_close(struct channel_linux *l)
{
    if (l == NULL) {
        return;
    }
    pthread_mutex_lock(&l->lock);
    l->end = true;
    pthread_cond_signal(&l->ended);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->ended);
    pthread_mutex_destroy(&l->lock);
    channel_close(l->channel);
    munmap(l->block, l->bytes);
    free(l);
}
