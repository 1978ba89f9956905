// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the worker has counted, as JSON and in Prometheus' text format.
#include "hypercall/host/tensord/gpu.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *guest_json(const struct guest *g)
{
    const struct hc_statistics *s = &g->statistics;
    return json_pack("{s:s, s:I, s:i, s:b, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:i, s:I}", "name",
                     g->name, "region_bytes", (json_int_t)g->region_bytes, "weight",
                     (int)g->policy.weight, "attached", g->attached != 0, "calls",
                     (json_int_t)s->calls, "refused", (json_int_t)s->refused, "prompt_tokens",
                     (json_int_t)s->prompt_tokens, "made_tokens", (json_int_t)s->made_tokens,
                     "passes", (json_int_t)s->passes, "mean_batch",
                     s->passes ? (double)s->pass_sequences / (double)s->passes : 0.0,
                     "compute_seconds", (double)s->compute_ns * 1e-9, "runs", (int)g->run_count,
                     "lent_bytes", (json_int_t)g->arena.lent);
}

static json_t *engine_json(const struct engine *e)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f}", "weights", e->weights->name,
                     "kv_type", tn_type_info(e->kv_type)->name, "device", engine_device(e),
                     "kv_pages_loaded", (json_int_t)e->gpu_loaded, "passes", (json_int_t)e->passes,
                     "rows", (json_int_t)e->pass_rows, "mean_batch",
                     e->passes ? (double)e->pass_sequences / (double)e->passes : 0.0,
                     "compute_seconds", (double)e->ns * 1e-9);
}

char *statistics_json(struct worker *w)
{
    json_t *guests = json_array(), *engines = json_array();
    pthread_mutex_lock(&w->lock);
    for (uint32_t i = 0; i < w->guest_count; i++) {
        json_array_append_new(guests, guest_json(w->guests[i]));
    }
    for (uint32_t i = 0; i < w->engine_count; i++) {
        if (w->engines[i]->executor) {
            json_array_append_new(engines, engine_json(w->engines[i]));
        }
    }
    json_t *o = json_pack(
        "{s:i, s:i, s:s, s:f, s:I, s:f, s:f, s:o, s:o}", "epoch", (int)w->options.epoch, "threads",
        (int)w->options.threads, "isa", tn_isa_name(w->options.isa), "uptime_seconds",
        (double)(now_ns() - w->started_ns) * 1e-9, "passes", (json_int_t)w->passes, "mean_batch",
        w->passes ? (double)w->pass_sequences / (double)w->passes : 0.0, "compute_seconds",
        (double)w->pass_ns * 1e-9, "guests", guests, "engines", engines);
    pthread_mutex_unlock(&w->lock);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

// ---- Prometheus --------------------------------------------------------------------------------

struct page {
    char *text;
    size_t bytes;
    FILE *out;
};

static void head(const struct page *p, const char *kind, const char *name, const char *help)
{
    fprintf(p->out, "# HELP tensord_%s %s\n# TYPE tensord_%s %s\n", name, help, name, kind);
}

// Names of guests are letters, digits, '.', '_' and '-': the holder takes no others.
static void of_guests(const struct page *p, const struct worker *w, const char *kind,
                      const char *name, const char *help, double (*value)(const struct guest *g))
{
    head(p, kind, name, help);
    for (uint32_t i = 0; i < w->guest_count; i++) {
        fprintf(p->out, "tensord_%s{guest=\"%s\"} %.9g\n", name, w->guests[i]->name,
                value(w->guests[i]));
    }
}

static double attached(const struct guest *g)
{
    return g->attached != 0;
}
static double calls(const struct guest *g)
{
    return (double)g->statistics.calls;
}
static double refused(const struct guest *g)
{
    return (double)g->statistics.refused;
}
static double prompt_tokens(const struct guest *g)
{
    return (double)g->statistics.prompt_tokens;
}
static double made_tokens(const struct guest *g)
{
    return (double)g->statistics.made_tokens;
}
static double compute_seconds(const struct guest *g)
{
    return (double)g->statistics.compute_ns * 1e-9;
}
static double waited_seconds(const struct guest *g)
{
    return (double)g->statistics.waited_ns * 1e-9;
}
static double runs(const struct guest *g)
{
    return g->run_count;
}
static double lent_bytes(const struct guest *g)
{
    return (double)g->arena.lent;
}

char *statistics_prometheus(struct worker *w)
{
    struct page p = {0};
    p.out = open_memstream(&p.text, &p.bytes);
    if (!p.out) {
        return NULL;
    }
    pthread_mutex_lock(&w->lock);
    head(&p, "gauge", "epoch", "Workers so far.");
    fprintf(p.out, "tensord_epoch %u\n", w->options.epoch);
    head(&p, "counter", "passes_total", "Passes over weights.");
    fprintf(p.out, "tensord_passes_total %llu\n", (unsigned long long)w->passes);
    head(&p, "counter", "pass_sequences_total", "Sequences in them; by passes: the mean batch.");
    fprintf(p.out, "tensord_pass_sequences_total %llu\n", (unsigned long long)w->pass_sequences);
    head(&p, "counter", "compute_seconds_total", "Time in passes.");
    fprintf(p.out, "tensord_compute_seconds_total %.9g\n", (double)w->pass_ns * 1e-9);
    of_guests(&p, w, "gauge", "guest_attached", "1: the guest makes calls.", attached);
    of_guests(&p, w, "counter", "guest_calls_total", "Calls taken.", calls);
    of_guests(&p, w, "counter", "guest_refused_total", "Calls refused.", refused);
    of_guests(&p, w, "counter", "guest_prompt_tokens_total", "Tokens read.", prompt_tokens);
    of_guests(&p, w, "counter", "guest_made_tokens_total", "Tokens made.", made_tokens);
    of_guests(&p, w, "counter", "guest_compute_seconds_total", "Its share of passes.",
              compute_seconds);
    of_guests(&p, w, "counter", "guest_waited_seconds_total",
              "Runs between submission and first pass.", waited_seconds);
    of_guests(&p, w, "gauge", "guest_runs", "Runs in flight.", runs);
    of_guests(&p, w, "gauge", "guest_lent_bytes", "Of the region, in buffers.", lent_bytes);
    pthread_mutex_unlock(&w->lock);
    if (fclose(p.out)) {
        free(p.text);
        return NULL;
    }
    return p.text;
}
