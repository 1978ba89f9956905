// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Commands about the library OS: mem, ps, log, net.
#include "libos/log.h"
#include "libos/mem.h"
#include "libos/net.h"
#include "libos/sched.h"
#include "libos/shell/internal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// An image may be built without the network.
void net_get_info(struct net_info *out) __attribute__((weak));

const char *shell_bytes(char *buf, size_t size, uint64_t bytes)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    unsigned unit = 0;
    uint64_t tenths = bytes * 10;
    if (bytes > UINT64_MAX / 10) {
        snprintf(buf, size, "none");
        return buf;
    }
    while (tenths >= 10240 && unit < 4) {
        tenths /= 1024;
        unit++;
    }
    if (unit == 0 || tenths >= 1000) {
        snprintf(buf, size, "%llu %s", (unsigned long long)(tenths / 10), units[unit]);
    } else {
        snprintf(buf, size, "%llu.%llu %s", (unsigned long long)(tenths / 10),
                 (unsigned long long)(tenths % 10), units[unit]);
    }
    return buf;
}

int shell_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || v < min || v > max) {
        shell_print("\"%s\" is not a number from %llu to %llu\n", text, (unsigned long long)min,
                    (unsigned long long)max);
        return -EINVAL;
    }
    *value = v;
    return 0;
}

static int run_mem(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct mem_stats s;
    char a[16], b[16], c[16];
    mem_get_stats(&s);
    shell_print("RAM %s, free %s, image %s\n", shell_bytes(a, sizeof(a), s.ram_bytes),
                shell_bytes(b, sizeof(b), s.free_bytes), shell_bytes(c, sizeof(c), s.image_bytes));
    if (s.mapped_model_bytes) {
        shell_print("model mapped from the host %s (not in RAM)\n",
                    shell_bytes(a, sizeof(a), s.mapped_model_bytes));
    }
    shell_print("zone          used      peak     limit   allocated     freed  failed\n");
    for (int i = 0; i < MEM_ZONE_COUNT; i++) {
        const struct mem_zone_stats *z = &s.zone[i];
        shell_print("%-8s %9s %9s %9s %11llu %9llu %7llu\n", z->name,
                    shell_bytes(a, sizeof(a), z->used_bytes),
                    shell_bytes(b, sizeof(b), z->peak_bytes),
                    shell_bytes(c, sizeof(c), z->limit_bytes), (unsigned long long)z->allocations,
                    (unsigned long long)z->frees, (unsigned long long)z->failures);
    }
    shell_print("slab    ");
    for (unsigned i = 0; i < 8; i++) {
        shell_print(" %u: %s", 16u << i, shell_bytes(a, sizeof(a), s.slab_bytes[i]));
    }
    return shell_print("\n");
}

static int by_id(const void *a, const void *b)
{
    const struct strand_info *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int run_ps(int argc, char **argv)
{
    static const char *const priorities[] = {"real", "crit", "high", "norm", "low", "idle"};
    (void)argc;
    (void)argv;
    // Strands may come in between the two calls; what does not fit then is said.
    size_t room = sched_snapshot(NULL, 0) + 8;
    struct strand_info *all = calloc(room, sizeof(*all));
    if (all == NULL) {
        return -ENOMEM;
    }
    size_t found = sched_snapshot(all, room), count = found < room ? found : room;
    qsort(all, count, sizeof(*all), by_id);
    int error = shell_print("  id cpu prio state      time ms  switches stack KB  name            "
                            "doing\n");
    for (size_t i = 0; i < count && error == 0; i++) {
        const struct strand_info *s = &all[i];
        const char *priority =
            (unsigned)s->priority < STRAND_PRIORITY_COUNT ? priorities[s->priority] : "?";
        error = shell_print(
            "%4u %3u %-4s %-8s %9llu %9llu %4llu/%-4llu %-15s %s\n", s->id, s->cpu, priority,
            s->state, (unsigned long long)(s->cpu_ns / 1000000), (unsigned long long)s->switches,
            (unsigned long long)((s->stack_used + 1023) / 1024),
            (unsigned long long)(s->stack_bytes / 1024), s->name, s->doing ? s->doing : "");
    }
    if (found > count) {
        shell_print("and %zu more\n", found - count);
    }
    free(all);
    uint64_t longest, looks;
    sched_relax_stats(&longest, &looks);
    return error
               ? error
               : shell_print("longest time without a look for urgent work: %llu us (%llu looks)\n",
                             (unsigned long long)(longest / 1000), (unsigned long long)looks);
}

struct log_tail {
    uint64_t skip;
    uint64_t seen;
    bool print;
};

static void log_visit(void *ctx, uint64_t ns, enum log_level level, const char *module,
                      const char *text)
{
    static const char *const marks[] = {"ERROR ", "WARN ", "", "debug "};
    struct log_tail *tail = ctx;
    if (tail->seen++ < tail->skip || !tail->print) {
        return;
    }
    int error = shell_print("%6llu.%03llu %-8s %s%s\n", (unsigned long long)(ns / 1000000000),
                            (unsigned long long)(ns / 1000000 % 1000), module,
                            (unsigned)level < 4 ? marks[level] : "", text);
    tail->print = error == 0;
}

static int run_log(int argc, char **argv)
{
    uint64_t lines = 30;
    struct log_tail tail = {0};
    if (argc > 1) {
        if (strcmp(argv[1], "all") == 0) {
            lines = UINT64_MAX;
        } else if (shell_number(argv[1], 1, 1000000, &lines) != 0) {
            return 0; // said already
        }
    }
    log_each(log_visit, &tail);
    tail.skip = tail.seen > lines ? tail.seen - lines : 0;
    tail.seen = 0;
    tail.print = true;
    log_each(log_visit, &tail);
    return 0;
}

static int run_net(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct net_info n;
    char a[16], b[16];
    if (!net_get_info) {
        return shell_print("this image has no network\n");
    }
    memset(&n, 0, sizeof(n));
    net_get_info(&n);
    shell_print("link %s, MAC %02x:%02x:%02x:%02x:%02x:%02x\n", n.link_up ? "up" : "down", n.mac[0],
                n.mac[1], n.mac[2], n.mac[3], n.mac[4], n.mac[5]);
    shell_print("IPv4 %s%s%s, DNS %s\n", n.bound ? n.address : "(no address yet)",
                n.gateway[0] ? ", gateway " : "", n.gateway, n.dns[0] ? n.dns : "none");
    for (int i = 0; i < 4; i++) {
        if (n.address6[i][0]) {
            shell_print("IPv6 %s\n", n.address6[i]);
        }
    }
    shell_print("received %llu frames, %s, %llu dropped\n", (unsigned long long)n.rx_frames,
                shell_bytes(a, sizeof(a), n.rx_bytes), (unsigned long long)n.rx_dropped);
    return shell_print("sent     %llu frames, %s, %llu dropped\nTCP connections %llu\n",
                       (unsigned long long)n.tx_frames, shell_bytes(b, sizeof(b), n.tx_bytes),
                       (unsigned long long)n.tx_dropped, (unsigned long long)n.tcp_active);
}

static const char *const log_arguments[] = {"all", NULL};
static struct shell_command commands[] = {
    {.name = "mem", .help = "memory by zone", .run = run_mem},
    {.name = "ps", .help = "strands and what they do", .run = run_ps},
    {.name = "log",
     .usage = "[N|all]",
     .help = "the last N lines of the log (30)",
     .run = run_log,
     .arguments = log_arguments},
    {.name = "net", .help = "addresses and traffic", .run = run_net},
};

void shell_register_system(void)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        shell_register(&commands[i]);
    }
}
