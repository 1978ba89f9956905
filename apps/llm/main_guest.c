// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The workload as a virtual machine: starts the server, finds the model, makes it ready. Whatever
// is wrong with the model, the machine lives on and says so.
#include "apps/llm/guest.h"
#include "apps/llm/port.h"
#include "libos/app.h"
#include "libos/image.h"
#include "libos/log.h"
#include "libos/mem.h"
#include "libos/net.h"
#include "libos/sched.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char app_name[] = "llm";
const char app_version[] = "0.1.0";

#define DRAIN_MS        8000
#define LISTEN_WAIT     5000000000ull
#define REPORT_AFTER_NS 20000000u // clients that have waited for us go first
#define MOST_BODY       (4u << 20)
#define MOST_HTTP       (8u << 20)

static struct llm llm;
static struct wake loaded = WAKE_INIT, listening = WAKE_INIT, drained = WAKE_INIT;
static _Atomic int listen_error;

// On the net strand, so that no request comes before its route is there.
static void start_server(void *arg)
{
    const struct manifest *m = arg;
    struct mem_stats s;
    mem_get_stats(&s);
    uint64_t share = s.free_bytes / 6;
    struct http_limits limits = {.body_bytes = share < MOST_BODY ? (size_t)share : MOST_BODY,
                                 .memory_bytes =
                                     2 * share < MOST_HTTP ? (size_t)(2 * share) : MOST_HTTP};
    int rc = http_listen(m->http_port, &limits, &llm.http);
    if (!rc) {
        http_set_key(llm.http, m->http_key[0] ? m->http_key : NULL);
        llm_routes(&llm);
    }
    listen_error = rc;
    stage_mark("port open");
    wake_set(&listening);
}

static void set_drained(void *ctx)
{
    (void)ctx;
    wake_set(&drained);
}

static void start_drain(void *arg)
{
    (void)arg;
    http_drain(llm.http, DRAIN_MS, set_drained, NULL);
}

static void drain(void *arg)
{
    (void)arg;
    if (llm.http && net_post(start_drain, NULL) == 0)
        wake_wait(&drained, port_now_ns() + (DRAIN_MS + 1000) * 1000000ull);
}

static void load(const struct manifest *m)
{
    static const enum offload_choice choice[] = {[OFFLOAD_AUTO] = OFFLOAD_CHOOSE,
                                                 [OFFLOAD_OFF] = OFFLOAD_NEVER,
                                                 [OFFLOAD_HOST] = OFFLOAD_ALWAYS};
    struct found_model found;
    char problem[300];
    struct engine_options o = {.slots = m->engine_slots,
                               .context = m->engine_context,
                               .isa = m->engine_isa,
                               .measure_isa = true,
                               .offload = {.choice = choice[m->offload_mode],
                                           .identity = m->model_identity,
                                           .spin_us = m->offload_spin}};
    if (model_find(m, &found, problem, sizeof problem)) {
        llm_fail(&llm, "%s", problem);
        return;
    }
    stage_mark("model found");
    if (image_record()) {
        found.bytes = image_require_model(found.data, found.bytes, found.source);
        stage_mark("model checked");
    }
    if (!llm_open(&llm, found.data, found.bytes, m->model_name[0] ? m->model_name : found.name,
                  found.source, &o))
        stage_mark("engine ready");
}

static void wait_for_server(const struct manifest *m)
{
    if (!wake_wait(&listening, port_now_ns() + LISTEN_WAIT) || listen_error) {
        log_error("llm", "the server does not listen on port %u (%d); the shell still works",
                  m->http_port, listen_error);
        return;
    }
    app_on_shutdown(drain, NULL);
    stage_mark("listening");
    strand_sleep_ns(REPORT_AFTER_NS);
    log_info("llm", "listening on port %u%s", m->http_port,
             m->http_key[0] ? ", API key required" : "");
}

static int print_line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
    return 0;
}

// `calls.bench=N`: for measurements without a shell.
static void bench_calls(void)
{
    char text[16];
    int n = app_option("calls.bench", text, sizeof text);
    if (n <= 0)
        return;
    unsigned long count = strtoul(text, NULL, 10);
    if (count < 1 || count > 1000000)
        log_warn("llm", "calls.bench=%s is no number from 1 to 1000000", text);
    else
        shell_calls_bench((uint32_t)count, print_line);
}

void app_load(void)
{
    load(manifest());
    wake_set(&loaded);
}

int app_main(int argc, char **argv)
{
    static struct wake never = WAKE_INIT;
    const struct manifest *m = manifest();
    (void)argc;
    (void)argv;
    shell_commands_init(&llm);
    int rc = net_post(start_server, (void *)(uintptr_t)m);
    wake_wait(&loaded, 0); // each read of a disk has its own time-out
    if (rc)
        log_error("llm", "no network: the shell's `chat` is the only way in");
    else
        wait_for_server(m);
    stage_print();
    bench_calls();
    strand_doing("done");
    wake_wait(&never, 0);
    return -EIO;
}
