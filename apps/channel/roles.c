// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Producer, relay, consumer, and both sides of a ping-pong. A tensor's first word is a random
// number of its session, the second counts the relays it went through, the others follow from the
// first, the tensor's number and their place.
#include "apps/channel/roles.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SAMPLE 512u // words

const char *const role_names[ROLE_COUNT] = {"produce", "relay", "consume", "ping", "pong"};
const char *const check_names[CHECK_COUNT] = {"none", "sampled", "full"};

int role_find(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

__attribute__((format(printf, 2, 3))) static void say(const struct role_options *o,
                                                      const char *format, ...)
{
    char line[320];
    int n = snprintf(line, sizeof(line), "channel: end %u %s: ", o->end, role_names[o->role]);
    va_list list;
    va_start(list, format);
    vsnprintf(line + n, sizeof(line) - (size_t)n, format, list);
    va_end(list);
    o->print(line);
}

static uint64_t pattern(uint64_t seed, uint64_t number)
{
    uint64_t x = (seed ^ number) * 0x9e3779b97f4a7c15ul;
    return x ^ x >> 32;
}

static void fill(const struct role_options *o, uint64_t *words, uint64_t seed, uint64_t number)
{
    uint64_t n = o->bytes / 8, base = pattern(seed, number);
    uint64_t step = o->check == CHECK_FULL ? 1 : SAMPLE;
    for (uint64_t i = step; o->check != CHECK_NONE && i < n; i += step) {
        words[i] = base + i;
    }
    words[0] = seed;
    words[1] = 0;
}

// Another process may write into the words meanwhile: each is read once.
static bool sound(const struct role_options *o, const uint64_t *words, uint64_t seed,
                  uint64_t number, uint64_t relays)
{
    uint64_t n = o->bytes / 8, base = pattern(seed, number), wrong = 0;
    uint64_t step = o->check == CHECK_FULL ? 1 : SAMPLE;
    for (uint64_t i = step < 2 ? 2 : step; o->check != CHECK_NONE && i < n; i += step) {
        wrong |= words[i] ^ (base + i);
    }
    return wrong == 0 && words[0] == seed && words[1] == relays;
}

bool role_fill_and_compare(const struct role_options *o, void *data, uint64_t number)
{
    fill(o, data, 1, number);
    __asm__ volatile("" ::"r"(data) : "memory");
    return sound(o, data, 1, number, 0);
}

static int produce_one(struct channel *c, const struct role_options *o, uint64_t seed, uint64_t i)
{
    struct channel_tensor t;
    int e = channel_lend(c, o->timeout_ns, &t);
    if (e) {
        return e;
    }
    if (o->bytes > t.room) {
        channel_release(c, &t);
        return -EMSGSIZE;
    }
    fill(o, t.data, seed, i);
    t.type = TN_I64;
    t.shape[0] = o->bytes / 8;
    t.tag = (uint32_t)i;
    return channel_send(c, &t);
}

static int produce(struct channel *c, const struct role_options *o, struct role_result *r)
{
    uint64_t seed = o->now_ns() * 0x9e3779b97f4a7c15ul | 1;
    for (uint64_t i = 0; i < o->count; i++) {
        int e = produce_one(c, o, seed, i);
        if (e) {
            return e;
        }
        r->tensors++;
        r->bytes += o->bytes;
        if (o->pace_ns) {
            nanosleep(&(struct timespec){0, (long)o->pace_ns}, NULL);
        }
    }
    return channel_drain(c, o->timeout_ns);
}

// Relay and consumer. A pipe begins with tensor 0; a broadcast and a ring with any.
static int take(struct channel *c, const struct role_options *o, struct role_result *r)
{
    uint32_t kind = channel_format_of(c)->kind;
    uint64_t relays = kind == HC_CHANNEL_PIPE ? o->end - 1 : 0;
    uint64_t seed = 0, next = 0;
    bool first = true, last = false;
    while (!last) {
        struct channel_tensor t;
        int e = channel_receive(c, o->timeout_ns, &t);
        if (e) {
            return e;
        }
        uint64_t *words = t.data, number = t.tag;
        if (t.bytes != o->bytes) {
            return -EMSGSIZE;
        }
        seed = first ? words[0] : seed;
        if (first && kind != HC_CHANNEL_PIPE) {
            next = number - t.lost;
        }
        first = false;
        r->lost += t.lost;
        r->bad += number != next + t.lost || !sound(o, words, seed, number, relays);
        r->tensors++;
        r->bytes += t.bytes;
        next = number + 1;
        last = next == o->count;
        if (o->role == ROLE_RELAY) {
            words[1]++;
            e = channel_send(c, &t);
        } else {
            e = channel_release(c, &t);
        }
        if (e) {
            return e;
        }
    }
    return o->role == ROLE_RELAY ? channel_drain(c, o->timeout_ns) : 0;
}

// Of a BIDIRECTIONAL channel: one tensor there and one back at a time.
static int ping_pong(struct channel *c, const struct role_options *o, struct role_result *r)
{
    for (uint64_t i = 0; i < o->count; i++) {
        struct channel_tensor t;
        int e = o->role == ROLE_PING ? produce_one(c, o, i + 1, i) : 0;
        e = e ? e : channel_receive(c, o->timeout_ns, &t);
        if (e) {
            return e;
        }
        r->bad += t.bytes != o->bytes || t.tag != i || !sound(o, t.data, i + 1, i, 0);
        r->tensors++;
        r->bytes += t.bytes;
        e = channel_release(c, &t);
        e = e || o->role == ROLE_PING ? e : produce_one(c, o, i + 1, i);
        if (e) {
            return e;
        }
    }
    return channel_drain(c, o->timeout_ns);
}

static int session(struct channel *c, const struct role_options *o, struct role_result *r)
{
    switch (o->role) {
    case ROLE_PRODUCE:
        return produce(c, o, r);
    case ROLE_PING:
    case ROLE_PONG:
        return ping_pong(c, o, r);
    default:
        return take(c, o, r);
    }
}

int role_run(struct channel *c, const struct role_options *o, struct role_result *r)
{
    int e = -EINVAL;
    for (uint32_t i = 1; i <= o->sessions; i++) {
        *r = (struct role_result){0};
        e = channel_connect(c, o->timeout_ns);
        if (e) {
            say(o, "not connected: %s (%s)", channel_reason(c), strerror(-e));
            return e;
        }
        say(o, "session %u has begun", i);
        uint64_t start = o->now_ns();
        e = session(c, o, r);
        r->ns = o->now_ns() - start;
        if (e == 0) {
            say(o,
                "session %u done: %llu tensors, %llu bytes, %llu bad, %llu lost, check %s, "
                "%llu us",
                i, (unsigned long long)r->tensors, (unsigned long long)r->bytes,
                (unsigned long long)r->bad, (unsigned long long)r->lost, check_names[o->check],
                (unsigned long long)(r->ns / 1000));
            return r->bad ? -EIO : 0;
        }
        say(o, "session %u broke after %llu tensors: %s (%s)", i, (unsigned long long)r->tensors,
            channel_reason(c), strerror(-e));
        if (e == -EPROTO || e == -ESTALE || e == -EMSGSIZE) {
            return e;
        }
    }
    return e;
}
