// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Finding the host and deciding, as offload.h says; and what the engine does while it waits.
#include "apps/llm/offload.h"
#include "apps/llm/port.h"
#include "tensor/estimate.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HOST_TIMEOUT_MS    3000u // it may have to open the weights first
#define MEASURE_TIMEOUT_MS 2000u
#define ESTIMATE_NS        5000000u
#define LOOK_AGAIN_MS      500u // for a host that is not there

void offload_stay(struct offload *o, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(o->why_not, sizeof o->why_not, format, args);
    va_end(args);
    port_log(o->choice == OFFLOAD_ALWAYS ? PORT_WARN : PORT_INFO,
             "tokens are computed by this machine: %s", o->why_not);
}

static void say(void *ctx, bool problem, const char *line)
{
    (void)ctx;
    port_log(problem ? PORT_WARN : PORT_INFO, "%s", line);
}

bool offload_connect(struct offload *o, const struct offload_options *options)
{
    struct hc_port port;
    struct hc_identity identity;
    void *region;
    uint64_t bytes;
    char error[160] = "";
    o->choice = options->choice;
    if (options->choice == OFFLOAD_NEVER) {
        snprintf(o->why_not, sizeof o->why_not, "offload.mode is off");
        return false;
    }
    int rc = port_offload_open(options->where, &port, &region, &bytes, error, sizeof error);
    if (rc == -ENODEV && options->choice == OFFLOAD_CHOOSE) { // the usual machine
        snprintf(o->why_not, sizeof o->why_not, "the machine has no ivshmem-doorbell device");
        return false;
    }
    if (rc || (rc = hc_client_init(&o->client, region, bytes, &port)) != 0) {
        offload_stay(o, "%s", error[0] ? error : "the shared region's size is no power of two");
        return false;
    }
    o->client.spin_ns = options->spin_us * 1000ull;
    o->connected = true;
    if (!options->identity || !options->identity[0]) {
        offload_stay(o, "model.identity is not given, so the host cannot know the weights");
        return false;
    }
    if (hc_identity_parse(options->identity, &identity)) {
        offload_stay(o, "model.identity is not of the form sha256:HEX");
        return false;
    }
    return true;
}

uint64_t offload_most_pages(const struct offload *o, const struct hc_runner_options *r)
{
    uint64_t room = o->client.region_bytes - HC_ARENA, other = hc_runner_overhead(r);
    return room > other ? (room - other) / r->kv_page_bytes : 0;
}

bool offload_begin(struct offload *o, struct hc_runner_options *r,
                   const struct offload_options *options)
{
    char error[200] = "";
    hc_identity_parse(options->identity, &r->identity);
    r->say = say;
    int rc = hc_runner_open(&o->client, r, HOST_TIMEOUT_MS, &o->runner, error, sizeof error);
    if (rc) {
        offload_stay(o, "%s", error);
        return false;
    }
    if (o->choice == OFFLOAD_CHOOSE) {
        rc = hc_runner_measure(o->runner, MEASURE_TIMEOUT_MS, &o->host_token_ns);
        if (rc) {
            // Its pages may still be written: the KV store goes elsewhere.
            offload_stay(o, "the host made no token in %u ms (%s)", MEASURE_TIMEOUT_MS,
                         strerror(-rc));
            hc_runner_close(o->runner);
            o->runner = NULL;
            return false;
        }
    }
    return true;
}

void *offload_kv(const struct offload *o)
{
    return o->runner ? hc_runner_kv(o->runner) : NULL;
}

const struct infer_runner *offload_decide(struct offload *o, struct tn_executor *x)
{
    if (!o->runner) {
        return NULL;
    }
    if (o->choice == OFFLOAD_CHOOSE) {
        if (tn_estimate_token(x, port_now_ns, ESTIMATE_NS, &o->own_token_ns)) {
            o->own_token_ns = UINT64_MAX;
        }
        port_log(PORT_INFO, "a token takes the host %.3f ms, this machine about %.3f ms",
                 (double)o->host_token_ns / 1e6, (double)o->own_token_ns / 1e6);
        if (o->own_token_ns <= o->host_token_ns) {
            offload_stay(o, "it is faster");
            return NULL;
        }
    }
    o->used = true;
    port_log(PORT_INFO, "tokens are computed by the host (epoch %u), runs of up to %u",
             o->client.epoch, hc_runner_infer(o->runner)->most_tokens);
    return hc_runner_infer(o->runner);
}

void offload_end(struct offload *o)
{
    hc_runner_close(o->runner);
    o->runner = NULL;
    o->used = false;
}

// ---- the engine's strand -----------------------------------------------------------------------

void offload_publish(struct offload *o)
{
    atomic_store_explicit(&o->state, o->used && hc_runner_ready(o->runner), memory_order_relaxed);
    atomic_store_explicit(&o->epoch, o->client.epoch, memory_order_relaxed);
    atomic_store_explicit(&o->losses, o->client.losses, memory_order_relaxed);
    atomic_store_explicit(&o->calls, o->client.calls, memory_order_relaxed);
    atomic_store_explicit(&o->answers, o->client.answers, memory_order_relaxed);
}

void offload_sleep(struct offload *o, uint32_t most_ms)
{
    if (!hc_sleep_begin(&o->client)) {
        return;
    }
    uint64_t now = port_now_ns(), until = hc_sleep_deadline(&o->client, now);
    uint64_t ms = (until - now + 999999) / 1000000;
    port_wait(PORT_ENGINE, ms < most_ms ? (uint32_t)ms : most_ms);
    hc_sleep_end(&o->client);
}

uint32_t offload_idle_ms(const struct offload *o)
{
    return o->used && o->client.link != HC_LINK_UP && o->client.link != HC_LINK_GONE ? LOOK_AGAIN_MS
                                                                                     : 0;
}
