// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The host's side of channel tests (build/bin/tessera-channel): makes a channel in a file, is an
// end of one, or both ends of a row whose middle is in guests.
#include "apps/channel/roles.h"
#include "hypercall/channel/channel_linux.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const kinds[] = {"", "pipe", "bidirectional", "broadcast", "ring"};

struct party {
    const char *path;
    struct role_options options;
    struct channel_options channel;
    struct role_result result;
    int error;
};

static void usage(void)
{
    fputs("usage: tessera-channel create FILE --size 64M --slot-bytes 1M [--kind pipe] [--ends 2]\n"
          "                       [--slots N]     kinds: pipe bidirectional broadcast ring\n"
          "       tessera-channel produce|relay|consume|ping|pong FILE --end N [--count 64]\n"
          "                       [--bytes 1M] [--check none|sampled|full] [--sessions 1]\n"
          "                       [--timeout SECONDS] [--dead MS] [--pace MICROSECONDS]\n"
          "       tessera-channel memcpy [--count 64] [--bytes 1M]   what the machine copies\n"
          "       tessera-channel loop FILE --end LAST …   produces at end 0, consumes at LAST\n",
          stderr);
    exit(2);
}

static uint64_t now_ns(void)
{
    return channel_linux_port.now_ns(NULL);
}

static void print_line(const char *line)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    puts(line);
    fflush(stdout);
    pthread_mutex_unlock(&lock);
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    static const char units[] = "KMG";
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (unit) {
        value <<= 10 * (unit - units + 1);
        end++;
    }
    if (end == text || *end) {
        usage();
    }
    return value;
}

static void *run(void *arg)
{
    struct party *p = arg;
    struct channel_linux *l;
    char error[160];
    p->error = channel_linux_open(p->path, p->options.end, &p->channel, &l, error, sizeof(error));
    if (p->error) {
        fprintf(stderr, "channel: end %u: %s\n", p->options.end, error);
        return NULL;
    }
    p->error = role_run(channel_linux_handle(l), &p->options, &p->result);
    channel_linux_close(l);
    return NULL;
}

static int create(const char *path, uint64_t size, const struct channel_format *f)
{
    char error[160];
    int e = channel_linux_create(path, size, f, error, sizeof(error));
    if (e) {
        fprintf(stderr, "channel: %s\n", error);
        return 1;
    }
    return 0;
}

static int loop(const struct party *model)
{
    pthread_t thread;
    struct party source = *model, sink = *model;
    source.options.role = ROLE_PRODUCE;
    source.options.end = 0;
    sink.options.role = ROLE_CONSUME;
    int e = pthread_create(&thread, NULL, run, &source);
    if (e) {
        fprintf(stderr, "channel: no thread: %s\n", strerror(e));
        return 1;
    }
    run(&sink);
    pthread_join(thread, NULL);
    return source.error || sink.error;
}

// The same bytes copied by memcpy, and written and compared in one thread without a channel:
// through a memory as large as a channel's, so that neither side gains from the cache.
static int copy(const struct role_options *o)
{
    size_t room = 64 << 20, step = (o->bytes + 4095) & ~4095ul;
    if (step > room) {
        fputs("channel: --bytes is 64M at most\n", stderr);
        return 1;
    }
    uint8_t *from = aligned_alloc(4096, room), *to = aligned_alloc(4096, room);
    if (!from || !to) {
        fputs("channel: out of memory\n", stderr);
        return 1;
    }
    memset(from, 1, room);
    memset(to, 2, room);
    uint64_t start = now_ns(), bad = 0;
    for (uint64_t i = 0, at = 0; i<o->count; i++, at = at + 2 * step> room ? 0 : at + step) {
        memcpy(to + at, from + at, o->bytes);
        __asm__ volatile("" ::"r"(to) : "memory");
    }
    uint64_t copied = now_ns() - start;
    start = now_ns();
    for (uint64_t i = 0, at = 0; i<o->count; i++, at = at + 2 * step> room ? 0 : at + step) {
        bad += !role_fill_and_compare(o, from + at, i);
    }
    printf("channel: memcpy: %llu bytes, %llu bad, %llu us; written and compared: %llu us\n",
           (unsigned long long)(o->count * o->bytes), (unsigned long long)bad,
           (unsigned long long)(copied / 1000), (unsigned long long)((now_ns() - start) / 1000));
    free(from);
    free(to);
    return bad != 0;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"kind", 1, 0, 'k'},       {"ends", 1, 0, 'E'},
        {"slots", 1, 0, 'n'},      {"size", 1, 0, 's'},
        {"slot-bytes", 1, 0, 'S'}, {"end", 1, 0, 'e'},
        {"count", 1, 0, 'c'},      {"bytes", 1, 0, 'b'},
        {"check", 1, 0, 'C'},      {"sessions", 1, 0, 'r'},
        {"timeout", 1, 0, 't'},    {"dead", 1, 0, 'd'},
        {"pace", 1, 0, 'p'},       {0},
    };
    struct channel_format f = {.kind = HC_CHANNEL_PIPE, .slot_bytes = 1 << 20};
    struct party p = {.options = {.check = CHECK_SAMPLED,
                                  .count = 64,
                                  .bytes = 1 << 20,
                                  .sessions = 1,
                                  .timeout_ns = 30000000000ull,
                                  .now_ns = now_ns,
                                  .print = print_line}};
    uint64_t size = 64 << 20;
    int option, found;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'k':
            found = role_find(kinds, 5, optarg);
            if (found < 1) {
                usage();
            }
            f.kind = (uint32_t)found;
            break;
        case 'C':
            found = role_find(check_names, CHECK_COUNT, optarg);
            if (found < 0) {
                usage();
            }
            p.options.check = (enum check)found;
            break;
        case 'E':
            f.ends = (uint32_t)number(optarg);
            break;
        case 'n':
            f.slots = (uint32_t)number(optarg);
            break;
        case 's':
            size = number(optarg);
            break;
        case 'S':
            f.slot_bytes = number(optarg);
            break;
        case 'e':
            p.options.end = (uint32_t)number(optarg);
            break;
        case 'c':
            p.options.count = number(optarg);
            break;
        case 'b':
            p.options.bytes = number(optarg) & ~7ull;
            break;
        case 'r':
            p.options.sessions = (uint32_t)number(optarg);
            break;
        case 't':
            p.options.timeout_ns = number(optarg) * 1000000000u;
            break;
        case 'p':
            p.options.pace_ns = number(optarg) * 1000u;
            break;
        case 'd':
            p.channel.dead_ns = number(optarg) * 1000000u;
            break;
        default:
            usage();
        }
    }
    if (argc - optind == 1 && strcmp(argv[optind], "memcpy") == 0 && p.options.bytes >= 16) {
        p.options.check = CHECK_FULL;
        return copy(&p.options);
    }
    if (argc - optind != 2 || p.options.bytes < 16) {
        usage();
    }
    const char *command = argv[optind];
    p.path = argv[optind + 1];
    if (strcmp(command, "create") == 0) {
        return create(p.path, size, &f);
    }
    if (strcmp(command, "loop") == 0) {
        return loop(&p);
    }
    found = role_find(role_names, ROLE_COUNT, command);
    if (found < 0) {
        usage();
    }
    p.options.role = (enum role)found;
    run(&p);
    return p.error != 0;
}
