// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The surroundings of port.h in the guest: strands, zones, the net strand's queue.
#include "apps/llm/metrics.h"
#include "apps/llm/port.h"
#include "hypercall/guest/device.h"
#include "libos/log.h"
#include "libos/mem.h"
#include "libos/net.h"
#include "libos/sched.h"
#include "libos/virtio.h"

#include <stdarg.h>
#include <stdio.h>

#define ENGINE_STACK (128u << 10)
#define TURN_NS      20000000u
#define READER_STACK (64u << 10) // PCRE2 takes 20 KB of it
// Left for the network's buffers, requests and everything else that comes and goes.
#define RESERVE_LEAST (3ull << 20)
#define RESERVE_MOST  (64ull << 20)

static struct {
    const char *name, *waits;
    size_t stack_bytes;
    struct wake wake;
} strands[PORT_STRAND_COUNT] = {
    [PORT_ENGINE] = {"engine", "waiting for requests", ENGINE_STACK, WAKE_INIT},
    [PORT_READER] = {"reader", "waiting for bodies", READER_STACK, WAKE_INIT},
};

uint64_t port_now_ns(void)
{
    return sched_now_ns();
}

void port_random(void *out, size_t bytes)
{
    random_bytes(out, bytes);
}

int port_post(void (*fn)(void *arg), void *arg)
{
    return net_post(fn, arg);
}

int port_start(enum port_strand which, void (*run)(void *arg), void *arg)
{
    return strand_create(strands[which].name, run, arg, STRAND_NORMAL, STRAND_ANY_CPU,
                         strands[which].stack_bytes, NULL);
}

void port_wake(enum port_strand which)
{
    wake_set(&strands[which].wake);
}

void port_wait(enum port_strand which, uint32_t timeout_ms)
{
    strand_doing(strands[which].waits);
    wake_wait(&strands[which].wake, timeout_ms ? port_now_ns() + timeout_ms * 1000000ull : 0);
    strand_doing("computing");
}

void port_yield(void)
{
    strand_yield();
}

void port_pause(void)
{
    static _Thread_local uint64_t turn_began;
    sched_relax();
    uint64_t now = port_now_ns();
    if (now - turn_began > TURN_NS) {
        strand_yield();
        turn_began = port_now_ns();
    }
}

static void run_tiles(struct tn_pool *p, void (*tile)(void *arg, size_t i, unsigned worker),
                      void *arg, size_t count)
{
    sched_gang(tile, arg, count, p->width); // which looks for urgent work between tiles
}

struct tn_pool *port_pool(void)
{
    static struct tn_pool pool = {.run = run_tiles, .relax = sched_relax};
    if (!pool.width)
        pool.width = sched_cpu_expected(); // those still starting join in later
    return &pool;
}

void *port_alloc(size_t bytes)
{
    return mem_zone_alloc_raw(MEM_TENSOR, bytes); // not cleared: the machine need not touch it yet
}

void port_free(void *block)
{
    mem_zone_free(block);
}

uint64_t port_free_bytes(void)
{
    struct mem_stats s;
    mem_get_stats(&s);
    uint64_t reserve = s.free_bytes / 4;
    if (reserve < RESERVE_LEAST)
        reserve = RESERVE_LEAST;
    if (reserve > RESERVE_MOST)
        reserve = RESERVE_MOST;
    uint64_t have = s.free_bytes > reserve ? s.free_bytes - reserve : 0;
    const struct mem_zone_stats *z = &s.zone[MEM_TENSOR];
    uint64_t zone = z->limit_bytes > z->used_bytes ? z->limit_bytes - z->used_bytes : 0;
    return have < zone ? have : zone;
}

int port_offload_open(const char *where, struct hc_port *port, void **region, uint64_t *bytes,
                      char *error, size_t error_bytes)
{
    const char *why;
    (void)where;
    int rc = hc_device_open(&strands[PORT_ENGINE].wake, port, region, bytes, &why);
    if (rc)
        snprintf(error, error_bytes, "the ivshmem-doorbell device: %s", why);
    return rc;
}

void port_metrics(struct text *out)
{
    struct mem_stats s;
    struct net_info n;
    uint64_t longest, looks;
    mem_get_stats(&s);
    net_get_info(&n);
    sched_relax_stats(&longest, &looks);
    metric_print(out, "gauge", "memory_bytes", "Memory of the machine.", (double)s.ram_bytes);
    metric_print(out, "gauge", "memory_used_bytes", "Memory in use.",
                 (double)(s.ram_bytes - s.free_bytes));
    metric_print(out, "gauge", "memory_mapped_model_bytes",
                 "The host's memory mapped for weights; none of the machine's.",
                 (double)s.mapped_model_bytes);
    text_puts(out, "# HELP tessera_zone_bytes Memory by zone.\n# TYPE tessera_zone_bytes gauge\n");
    for (int i = 0; i < MEM_ZONE_COUNT; i++) {
        const struct mem_zone_stats *z = &s.zone[i];
        text_format(out,
                    "tessera_zone_bytes{zone=\"%s\",kind=\"used\"} %llu\n"
                    "tessera_zone_bytes{zone=\"%s\",kind=\"peak\"} %llu\n"
                    "tessera_zone_bytes{zone=\"%s\",kind=\"limit\"} %llu\n",
                    z->name, (unsigned long long)z->used_bytes, z->name,
                    (unsigned long long)z->peak_bytes, z->name, (unsigned long long)z->limit_bytes);
    }
    metric_print(out, "counter", "net_received_bytes_total", "Bytes received.", (double)n.rx_bytes);
    metric_print(out, "counter", "net_sent_bytes_total", "Bytes sent.", (double)n.tx_bytes);
    metric_print(out, "gauge", "sched_longest_tile_seconds",
                 "Longest time a core computed without looking for urgent work.",
                 (double)longest / 1e9);
    metric_print(out, "gauge", "uptime_seconds", "Since the machine's start.",
                 (double)port_now_ns() / 1e9);
}

void port_log(enum port_level level, const char *format, ...)
{
    static const enum log_level levels[] = {LOG_ERROR, LOG_WARN, LOG_INFO};
    char line[400];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log_line(levels[level], "llm", "%s", line);
}
