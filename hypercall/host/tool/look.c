// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest as JSON, as `ls`, `top` and `inspect` print it.
#include "hypercall/host/tool/look.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool look_is_local(const struct guest_host *h)
{
    return !h->is_remote;
}

int look_take(struct guest_host *h, const char *only, struct view *out, char *error,
              size_t error_bytes)
{
    return view_look(h->libvirt, only, look_is_local(h), out, error, error_bytes);
}

static json_t *text(const char *s)
{
    return s[0] ? json_string(s) : json_null();
}

// Two digits after the point are what is known.
static json_t *rounded(double v)
{
    return v < 0 ? json_null() : json_real(round(v * 100) / 100);
}

static json_t *size_mb(uint64_t kb)
{
    return kb ? rounded((double)kb / 1024) : json_null();
}

static void put_metrics(json_t *o, const struct view_guest *g, const struct view_rates *r)
{
    const struct view_metrics *m = &g->metrics;
    json_object_set_new(o, "memory_used_mb",
                        m->known ? rounded(m->memory_used_bytes / 1048576) : json_null());
    json_object_set_new(o, "tokens_per_s", m->known ? rounded(r->tokens) : json_null());
    json_object_set_new(o, "prompt_tokens_per_s",
                        m->known ? rounded(r->prompt_tokens) : json_null());
    json_object_set_new(o, "requests_per_s", m->known ? rounded(r->requests) : json_null());
    json_object_set_new(o, "requests_running",
                        m->known ? json_integer((json_int_t)m->running) : json_null());
    json_object_set_new(o, "requests_waiting",
                        m->known ? json_integer((json_int_t)m->waiting) : json_null());
    json_object_set_new(o, "kv_cache_usage", m->known ? rounded(m->kv_usage) : json_null());
    json_object_set_new(o, "p50_ms", rounded(r->p50_ms));
    json_object_set_new(o, "p95_ms", rounded(r->p95_ms));
    json_object_set_new(o, "first_token_ms", rounded(r->first_token_ms));
    json_object_set_new(o, "tokens_total",
                        m->known ? json_integer((json_int_t)m->made_tokens) : json_null());
}

json_t *look_json(const struct view_guest *g, const struct view_rates *r)
{
    const struct machine_facts *f = &g->facts;
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(g->name));
    json_object_set_new(o, "state", json_string(g->state));
    json_object_set_new(o, "why", text(g->why));
    json_object_set_new(o, "model", json_string(f->model));
    json_object_set_new(o, "identity", json_string(f->identity));
    json_object_set_new(o, "vcpus", json_integer(g->vcpus));
    json_object_set_new(o, "cpu_percent", g->active ? rounded(r->cpu_percent) : json_null());
    json_object_set_new(o, "memory_mb", json_integer((json_int_t)g->memory_mb));
    json_object_set_new(o, "qemu_rss_mb", size_mb(g->rss_kb));
    json_object_set_new(o, "qemu_pss_mb", size_mb(g->pss_kb));
    put_metrics(o, g, r);
    json_object_set_new(o, "url", text(g->url));
    json_object_set_new(o, "offload", text(f->offload));
    json_object_set_new(o, "fleet", text(f->fleet));
    json_object_set_new(o, "service", text(f->service));
    json_object_set_new(o, "version", text(f->version));
    json_object_set_new(o, "console", text(f->console_log));
    json_object_set_new(o, "persistent", json_boolean(g->persistent));
    json_object_set_new(o, "autostart", json_boolean(g->autostart));
    return o;
}

int look_print_json(json_t *taken)
{
    char *line = json_dumps(taken, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(12));
    json_decref(taken);
    if (!line) {
        return tool_fail("no memory");
    }
    puts(line);
    free(line);
    return TOOL_OK;
}
