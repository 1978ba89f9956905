// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The host's side of the floor of a call: hands stock QEMU an ivshmem region, plays the other end
// for the bare guest (guest.c), prints a line `call MODE MEDIAN_US P99_US SAMPLES` a measurement.
// Commands on standard input, one a line: `MODE N`, `quit`. ci/bench-call.sh drives it.
#include "ci/bench/call_floor/ping_pong.h"
#include "ci/bench/call_floor/samples.h"
#include "ci/bench/call_floor/server.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_MS       30000
#define LOST_NS        5000000000ull // a guest that has not moved for so long is lost
#define CLOCK_US       100000        // between two comparisons of the clocks
#define CLOCK_TRIES    20
#define CLOCK_ERROR_NS 500000ull  // of a comparison at most: half a percent
#define HOST_LOOKS     (1u << 14) // between two looks at the clock while spinning

static const struct mode {
    const char *name, *what;
    uint32_t wake;
} modes[] = {
    {"spin", "guest spins, host spins", 0},
    {"sleep", "guest sleeps (MSI-X), host sleeps (doorbell, poll)",
     FLOOR_GUEST_SLEEPS | FLOOR_HOST_SLEEPS},
    {"guest-sleeps", "guest sleeps (MSI-X), host spins", FLOOR_GUEST_SLEEPS},
    {"host-sleeps", "guest spins, host sleeps (doorbell, poll)", FLOOR_HOST_SLEEPS},
    {"spin-pause", "both spin, the guest with `pause`", FLOOR_PAUSE},
};
static const struct mode host_only[] = {
    {"host-spin", "no guest: two processes spin", 0},
    {"host-sleep", "no guest: two processes, eventfd and poll", 1},
};

static struct server server;
static double ticks_per_us;
static int other_core = -1;      // of QEMU
static uint32_t order, question; // last given, last answered
static uint64_t samples[FLOOR_ROUNDS_MOST];

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("call floor: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

static void wake_guest(int vector)
{
    uint64_t one = 1;
    if (write(server.guest[vector], &one, sizeof one) != sizeof one) {
        die("the guest's eventfd: %s", strerror(errno));
    }
}

// Spins until *word is `wanted`.
static void expect(const uint32_t *word, uint32_t wanted, const char *what)
{
    uint64_t give_up = 0;
    for (uint32_t i = 1; __atomic_load_n(word, __ATOMIC_ACQUIRE) != wanted; i++) {
        if (i % HOST_LOOKS) {
            continue;
        }
        uint64_t now = now_ns();
        give_up = give_up ? give_up : now + LOST_NS;
        if (now > give_up || server_is_gone(&server)) {
            die("the guest %s (it %s)", what,
                server_is_gone(&server) ? "has ended" : "does not move");
        }
    }
}

// QEMU has made the eventfd non-blocking, for us too: poll first.
static void sleep_for_question(void)
{
    struct pollfd p = {server.host[FLOOR_QUESTION], POLLIN, 0};
    uint64_t events;
    int n = poll(&p, 1, (int)(LOST_NS / 1000000u));
    if (n <= 0) {
        die("the guest rings no doorbell (%s)", n ? strerror(errno) : "timed out");
    }
    if (read(p.fd, &events, sizeof events) != sizeof events) {
        die("the host's eventfd: %s", strerror(errno));
    }
}

static void give_order(uint32_t task, uint32_t wake, uint32_t rounds)
{
    server.region->task = task;
    server.region->wake = wake;
    server.region->rounds = rounds;
    __atomic_store_n(&server.region->order, ++order, __ATOMIC_RELEASE);
    wake_guest(FLOOR_ORDER);
}

// The guest's clock and ours at one moment: the guest reads its own at some time between two of
// ours. Either side may be taken off its core in between, so the closest of several counts.
static void read_both(uint64_t *ticks, uint64_t *ns)
{
    uint64_t closest = UINT64_MAX, give_up = now_ns() + LOST_NS;
    for (int i = 0; i < CLOCK_TRIES || closest > CLOCK_ERROR_NS; i++) {
        uint64_t before = now_ns();
        give_order(FLOOR_CLOCK, 0, 0);
        sleep_for_question();
        uint64_t after = now_ns();
        if (after - before < closest) {
            closest = after - before;
            *ticks = __atomic_load_n(&server.region->tsc, __ATOMIC_ACQUIRE);
            *ns = before + closest / 2;
        }
        if (after > give_up) {
            die("the guest's clock: no answer within %llu us", CLOCK_ERROR_NS / 1000);
        }
    }
}

// The frequency of the guest's clock, held against ours.
static void compare_clocks(void)
{
    uint64_t from, to, begun, ended;
    read_both(&from, &begun);
    usleep(CLOCK_US);
    read_both(&to, &ended);
    ticks_per_us = (double)(to - from) * 1000.0 / (double)(ended - begun);
    if (!(ticks_per_us > 10.0 && ticks_per_us < 20000.0)) {
        die("a guest's clock of %.3f MHz cannot be", ticks_per_us);
    }
}

static void print(const struct mode *m, size_t count, double units_per_us)
{
    double median = (double)samples_percentile(samples, count, 50) / units_per_us;
    double p99 = (double)samples_percentile(samples, count, 99) / units_per_us;
    printf("call %s %.3f %.3f %zu\n", m->name, median, p99, count);
    fflush(stdout);
}

static void measure(const struct mode *m, uint32_t rounds)
{
    struct floor_region *r = server.region;
    memset(r->ticks, 0, sizeof r->ticks[0] * rounds);
    uint64_t begun = now_ns();
    give_order(FLOOR_ROUND_TRIPS, m->wake, rounds);
    for (uint32_t i = 0; i < rounds; i++) {
        question += question == UINT32_MAX ? 2 : 1;
        if (m->wake & FLOOR_HOST_SLEEPS) {
            sleep_for_question();
            if (__atomic_load_n(&r->question, __ATOMIC_ACQUIRE) != question) {
                die("the doorbell rang without its question");
            }
        } else {
            expect(&r->question, question, "asks nothing");
        }
        __atomic_store_n(&r->answer, question, __ATOMIC_RELEASE);
        if (m->wake & FLOOR_GUEST_SLEEPS) {
            wake_guest(FLOOR_ANSWER);
        }
    }
    expect(&r->done, order, "does not finish");
    double wall_us = (double)(now_ns() - begun) / 1000.0, sum_us = 0;
    memcpy(samples, r->ticks, sizeof samples[0] * rounds);
    for (uint32_t i = 0; i < rounds; i++) {
        if (samples[i] == 0) {
            die("round trip %u has no time", i);
        }
        sum_us += (double)samples[i] / ticks_per_us;
    }
    if (sum_us > wall_us * 1.01) { // of the two clocks, measured once
        die("%s: %u round trips of %.0f us in all took only %.0f us by the host's clock", m->name,
            rounds, sum_us, wall_us);
    }
    print(m, rounds, ticks_per_us);
}

static void start(const char *path)
{
    int rc = server_open(&server, path);
    if (rc) {
        die("%s: %s", path, strerror(-rc));
    }
    printf("listening\n");
    fflush(stdout);
    rc = server_accept(&server, START_MS);
    if (rc) {
        die("QEMU did not connect to %s: %s", path, strerror(-rc));
    }
    uint64_t give_up = now_ns() + START_MS * 1000000ull;
    while (__atomic_load_n(&server.region->ready, __ATOMIC_ACQUIRE) != FLOOR_MAGIC) {
        if (now_ns() > give_up || server_is_gone(&server)) {
            die("the guest does not come up");
        }
        usleep(1000);
    }
    compare_clocks();
    printf("ready, guest clock %.3f MHz\n", ticks_per_us);
    fflush(stdout);
}

// Whether the line was understood.
static bool obey(const char *name, uint32_t rounds)
{
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(name, modes[i].name) == 0) {
            measure(&modes[i], rounds);
            return true;
        }
    }
    for (size_t i = 0; i < sizeof host_only / sizeof host_only[0]; i++) {
        if (strcmp(name, host_only[i].name) == 0) {
            int rc = ping_pong(host_only[i].wake != 0, other_core, samples, rounds);
            if (rc) {
                die("%s: %s", name, strerror(-rc));
            }
            print(&host_only[i], rounds, 1000.0);
            return true;
        }
    }
    return false;
}

static int core_number(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < 0 || n >= CPU_SETSIZE) {
        die("'%s' is no core", text);
    }
    return (int)n;
}

static void usage(void)
{
    puts("Usage: call-floor-peer SOCKET [CORE QEMU-CORE]\n"
         "Commands on standard input: MODE N, quit. Run here on CORE; QEMU runs on QEMU-CORE.");
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        printf("  %-13s %s\n", modes[i].name, modes[i].what);
    }
    for (size_t i = 0; i < sizeof host_only / sizeof host_only[0]; i++) {
        printf("  %-13s %s\n", host_only[i].name, host_only[i].what);
    }
}

int main(int argc, char **argv)
{
    char line[128], name[32];
    uint32_t rounds;
    if ((argc != 2 && argc != 4) || argv[1][0] == '-') {
        usage();
        return 2;
    }
    if (argc == 4) {
        other_core = core_number(argv[3]);
        int rc = bind_to_core(core_number(argv[2]));
        if (rc) {
            die("core %s: %s", argv[2], strerror(-rc));
        }
    }
    start(argv[1]);
    while (fgets(line, sizeof line, stdin) && strcmp(line, "quit\n") != 0) {
        if (sscanf(line, "%31s %u", name, &rounds) != 2 || rounds == 0 ||
            rounds > FLOOR_ROUNDS_MOST || !obey(name, rounds)) {
            die("not understood (MODE N, N up to %u): %s", FLOOR_ROUNDS_MOST, line);
        }
    }
    give_order(FLOOR_POWER_OFF, 0, 0);
    server_close(&server);
    unlink(argv[1]);
    return 0;
}
