// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The shell's `calls`: how tensor calls stand; `calls bench N` measures their round trips.
#include "apps/llm/guest.h"
#include "apps/llm/port.h"
#include "hypercall/guest/device.h"
#include "libos/sched.h"
#include "libos/shell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POLL_NS (20u * 1000 * 1000)
enum { USUAL_COUNT = 1000, MOST_COUNT = 1000000 };

static struct llm *llm;
static struct calls_bench last;

static void print_result(int (*print)(const char *format, ...), const struct calls_bench *b)
{
    print("call spin %.2f %.2f %u\n", (double)b->spin_median_ns / 1e3, (double)b->spin_p99_ns / 1e3,
          b->count);
    print("call sleep %.2f %.2f %u\n", (double)b->sleep_median_ns / 1e3,
          (double)b->sleep_p99_ns / 1e3, b->count);
}

int shell_calls_bench(uint32_t count, int (*print)(const char *format, ...))
{
    if (llm_state(llm) != LLM_READY) {
        print("calls: the model is not ready\n");
        return -EAGAIN;
    }
    struct job *j = calloc(1, sizeof *j);
    struct calls_bench b = {.count = count};
    if (!j)
        return -ENOMEM;
    j->bench = &b;
    engine_submit(llm->engine, j);
    while (!job_finished(j)) // the engine's strand ends it in bounded time
        strand_sleep_ns(POLL_NS);
    free(j);
    if (b.error) {
        print("calls: no round trips: %s\n", strerror(-b.error));
        return b.error;
    }
    last = b;
    print_result(print, &b);
    return 0;
}

static int show(void)
{
    if (llm_state(llm) != LLM_READY) {
        shell_print("The model is not ready.\n");
        return 0;
    }
    const struct offload *o = engine_offload(llm->engine);
    const struct engine_metrics *m = engine_metrics(llm->engine);
    if (!o->connected) {
        shell_print("no tensor calls: %s\n", o->why_not);
        return 0;
    }
    bool host = atomic_load_explicit(&o->state, memory_order_relaxed);
    const char *location = hc_device_location();
    shell_print("device    %s, %llu KB shared, %llu doorbells heard\n", location ? location : "-",
                (unsigned long long)(o->client.region_bytes >> 10),
                (unsigned long long)hc_device_interrupts());
    shell_print("tokens    by %s%s%s\n", host ? "the host" : "this machine",
                o->why_not[0] ? ": " : "", o->why_not);
    shell_print("host      epoch %llu, lost %llu times\n", (unsigned long long)counted(&o->epoch),
                (unsigned long long)counted(&o->losses));
    shell_print("made      %llu tokens by the host, of %llu\n",
                (unsigned long long)counted(&m->host_tokens),
                (unsigned long long)counted(&m->made_tokens));
    shell_print("calls     %llu, %llu answers\n", (unsigned long long)counted(&o->calls),
                (unsigned long long)counted(&o->answers));
    if (last.count)
        print_result(shell_print, &last);
    else
        shell_print("`calls bench` measures round trips\n");
    return 0;
}

static int calls(int argc, char **argv)
{
    if (argc == 1)
        return show();
    unsigned long count = argc == 3 ? strtoul(argv[2], NULL, 10) : USUAL_COUNT;
    if (argc > 3 || strcmp(argv[1], "bench") || count < 1 || count > MOST_COUNT) {
        shell_print("usage: calls [bench [N]]\n");
        return -EINVAL;
    }
    return shell_calls_bench((uint32_t)count, shell_print);
}

void shell_calls_init(struct llm *l)
{
    static const char *const words[] = {"bench", NULL};
    static struct shell_command command = {.name = "calls",
                                           .usage = "[bench [N]]",
                                           .help = "tensor calls: state, round trips",
                                           .run = calls,
                                           .arguments = words};
    llm = l;
    shell_register(&command);
}
