// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest that is one end of a tensor channel. Its command line says which: channel.role=produce,
// relay, consume, ping, pong or meus (both ends of a channel in this guest's own memory),
// channel.end=N, channel.region=N, channel.count=N, channel.bytes=N, channel.check=none, sampled
// or full, channel.sessions=N, channel.timeout=SECONDS, channel.pace=MICROSECONDS. It powers off
// when it is done.
#include "apps/channel/roles.h"
#include "hypercall/channel/channel_guest.h"
#include "libos/app.h"
#include "libos/log.h"
#include "libos/mem.h"
#include "libos/sched.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MEU_STACK 65536u
#define MEU_SLOTS 16u
#define APPEAR_NS 20000000ull // between looks for a channel that is not there yet

const char app_name[] = "channel";
const char app_version[] = "0.1.0";

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void print_line(const char *line)
{
    puts(line);
    fflush(stdout);
}

static uint64_t number(const char *key, uint64_t otherwise)
{
    char text[32], *end;
    if (app_option(key, text, sizeof(text)) < 0) {
        return otherwise;
    }
    uint64_t value = strtoull(text, &end, 10);
    if (*end == 'K' || *end == 'M') {
        value <<= *end++ == 'K' ? 10 : 20;
    }
    if (end == text || *end) {
        log_error("channel", "%s=%s is no number", key, text);
        app_shutdown();
    }
    return value;
}

static int word(const char *key, const char *const *names, int count, int otherwise)
{
    char text[32];
    if (app_option(key, text, sizeof(text)) < 0) {
        return otherwise;
    }
    int i = role_find(names, count, text);
    if (i < 0) {
        log_error("channel", "%s=%s is not known", key, text);
        app_shutdown();
    }
    return i;
}

static int open_region(const struct role_options *o, struct channel_guest **g)
{
    char error[160];
    size_t region = number("channel.region", 0);
    uint64_t start = now_ns();
    int e;
    while ((e = channel_guest_open(region, o->end, NULL, g, error, sizeof(error))) == -ENODEV &&
           now_ns() - start < o->timeout_ns) {
        strand_sleep_ns(APPEAR_NS);
    }
    if (e) {
        log_error("channel", "%s", error);
    }
    return e;
}

struct meu {
    struct role_options options;
    struct channel_guest *channel;
    struct wake done;
    int result;
};

static void run_meu(void *arg)
{
    struct meu *m = arg;
    struct role_result r;
    m->result = role_run(channel_guest_handle(m->channel), &m->options, &r);
    wake_set(&m->done);
}

// Two MEUs of this guest over memory of its own.
static int between_meus(const struct role_options *o)
{
    struct channel_format f = {HC_CHANNEL_PIPE, 2, MEU_SLOTS, o->bytes};
    size_t bytes = (size_t)(hc_channel_slots_offset(f.kind, f.ends, f.slots) +
                            MEU_SLOTS * (o->bytes + HC_CHANNEL_SLOT_ALIGN));
    void *block = mem_zone_alloc(MEM_TENSOR, bytes);
    static struct meu meus[2];
    char error[160] = "out of memory";
    int e = block ? channel_create(block, bytes, &f, error, sizeof(error)) : -ENOMEM;
    for (uint32_t i = 0; e == 0 && i < 2; i++) {
        meus[i].options = *o;
        meus[i].options.end = i;
        meus[i].options.role = i == 0 ? ROLE_PRODUCE : ROLE_CONSUME;
        e = channel_guest_open_block(block, bytes, i, NULL, &meus[i].channel, error, sizeof(error));
    }
    for (uint32_t i = 0; e == 0 && i < 2; i++) {
        e = strand_create(i ? "consumer" : "producer", run_meu, &meus[i], STRAND_NORMAL,
                          i % sched_cpu_count(), MEU_STACK, NULL);
    }
    if (e) {
        log_error("channel", "%s", error);
        return e;
    }
    wake_wait(&meus[0].done, 0);
    wake_wait(&meus[1].done, 0);
    channel_guest_close(meus[0].channel);
    channel_guest_close(meus[1].channel);
    mem_zone_free(block);
    return meus[0].result ? meus[0].result : meus[1].result;
}

int app_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    static const char *const names[] = {"produce", "relay", "consume", "ping", "pong", "meus"};
    struct role_options o = {
        .end = (uint32_t)number("channel.end", 0),
        .count = number("channel.count", 64),
        .bytes = number("channel.bytes", 1 << 20) & ~7ull,
        .sessions = (uint32_t)number("channel.sessions", 1),
        .timeout_ns = number("channel.timeout", 30) * 1000000000ull,
        .pace_ns = number("channel.pace", 0) * 1000u,
        .check = (enum check)word("channel.check", check_names, CHECK_COUNT, CHECK_SAMPLED),
        .now_ns = now_ns,
        .print = print_line,
    };
    int role = word("channel.role", names, ROLE_COUNT + 1, ROLE_CONSUME), e;
    if (o.bytes < 16) {
        log_error("channel", "channel.bytes is 16 at least");
        app_shutdown();
    }
    if (role == ROLE_COUNT) {
        e = between_meus(&o);
    } else {
        struct channel_guest *g;
        struct role_result r;
        o.role = (enum role)role;
        e = open_region(&o, &g);
        if (e == 0) {
            e = role_run(channel_guest_handle(g), &o, &r);
            channel_guest_close(g);
        }
    }
    printf("channel: the guest is done: %s\n", e ? strerror(-e) : "good");
    app_shutdown();
}
