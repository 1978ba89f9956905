// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera inspect`: all that is known of one guest, as an object that is printed as JSON or line
// by line.
#include "hypercall/host/tool/look.h"
#include "hypercall/host/base/http.h"
#include "hypercall/host/view/devices.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLE_MS = 500, ASK_MS = 1500, LOG_MOST = 256 << 10 };

// ---- what the guest says -----------------------------------------------------------------------

static void put_props(json_t *o, const struct view_guest *g)
{
    struct http_question q = {.key = g->facts.key};
    json_t *props = NULL;
    snprintf(q.url, sizeof q.url, "%s/props", g->url);
    if (g->health == 200 && http_ask(&q, 1, ASK_MS) == 0 && q.http == 200 && q.body) {
        props = json_loads(q.body, 0, NULL);
    }
    free(q.body);
    json_object_set_new(o, "props", props ? props : json_null());
}

// The guest's boot log names devices that it has no driver for.
static void put_undriven(json_t *o, const char *log)
{
    json_t *lines = json_array();
    FILE *f = fopen(log, "re");
    char *text = f ? calloc(1, LOG_MOST) : NULL;
    size_t n = text ? fread(text, 1, LOG_MOST - 1, f) : 0;
    for (char *line = text, *end; line && line < text + n; line = end + 1) {
        end = line + strcspn(line, "\r\n");
        bool last = !*end;
        *end = 0;
        if (strstr(line, "no driver")) {
            for (char *c = line; *c; c++) {
                *c = *c < 0x20 || *c == 0x7f ? '?' : *c;
            }
            json_array_append_new(lines, json_string(line));
        }
        if (last) {
            break;
        }
    }
    free(text);
    if (f) {
        fclose(f);
    }
    json_object_set_new(o, "no_driver", lines);
}

// ---- what libvirt says -------------------------------------------------------------------------

static void add_device(void *context, const char *line)
{
    json_array_append_new(context, json_string(line));
}

static void put_domain(json_t *o, struct guest_host *h, const char *name)
{
    virDomainPtr d = virDomainLookupByName(h->libvirt, name);
    char *xml = d ? virDomainGetXMLDesc(d, 0) : NULL;
    json_t *devices = json_array();
    if (xml) {
        view_devices(xml, add_device, devices);
        json_object_set_new(o, "weights", json_string(view_weights_way(xml)));
        json_object_set_new(
            o, "acceleration",
            json_string(strncmp(xml, "<domain type='kvm'", 18) == 0 ? "kvm" : "tcg"));
    }
    json_object_set_new(o, "devices", devices);
    free(xml);
    if (d) {
        virDomainFree(d);
    }
}

static void put_hints(json_t *o, const struct guest_host *h, const char *name)
{
    char line[700];
    json_t *hints = json_array();
    static const char *const forms[] = {"virsh -c '%s' dumpxml %s", "virsh -c '%s' domstats %s",
                                        "tessera console --connect '%s' %s",
                                        "tessera logs -f --connect '%s' %s"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(line, sizeof line, forms[i], h->uri, name);
#pragma GCC diagnostic pop
        json_array_append_new(hints, json_string(line));
    }
    json_object_set_new(o, "see", hints);
}

static json_t *describe(struct guest_host *h, const struct view *before, const struct view *now)
{
    const struct view_guest *g = &now->guests[0];
    const struct machine_facts *f = &g->facts;
    const struct view_metrics *m = &g->metrics;
    struct view_rates r;
    view_rate(before, now, g, &r);
    json_t *o = look_json(g, &r);
    json_object_set_new(o, "uuid", json_string(g->uuid));
    json_object_set_new(o, "connection", json_string(h->uri));
    json_object_set_new(o, "mapped", json_string(f->mapped));
    json_object_set_new(o, "network", json_string(f->network[0] ? f->network : "user"));
    json_object_set_new(o, "listen",
                        json_string(f->network[0]  ? ""
                                    : f->listen[0] ? f->listen
                                                   : "127.0.0.1"));
    json_object_set_new(o, "port", json_integer(f->network[0] ? 80 : f->port));
    json_object_set_new(o, "key", json_boolean(f->key[0] || f->key_file[0]));
    json_object_set_new(o, "region_mb", json_integer(f->region_mb));
    json_object_set_new(o, "health", g->health ? json_integer(g->health) : json_null());
    json_object_set_new(o, "uptime_s", m->known ? json_real(m->uptime_seconds) : json_null());
    json_object_set_new(o, "requests_total",
                        m->known ? json_integer((json_int_t)m->ended) : json_null());
    json_object_set_new(o, "requests_failed",
                        m->known ? json_integer((json_int_t)m->failed) : json_null());
    double p50 = view_quantile(NULL, &m->whole, 0.5), p95 = view_quantile(NULL, &m->whole, 0.95);
    json_object_set_new(o, "p50_ms_ever", p50 < 0 ? json_null() : json_real(1e3 * p50));
    json_object_set_new(o, "p95_ms_ever", p95 < 0 ? json_null() : json_real(1e3 * p95));
    put_domain(o, h, g->name);
    if (look_is_local(h)) {
        put_undriven(o, f->console_log);
    }
    put_props(o, g);
    put_hints(o, h, g->name);
    return o;
}

// ---- for people --------------------------------------------------------------------------------

static void print_value(const char *name, const json_t *value, int indent)
{
    char *text = NULL;
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_object(value)) {
        printf("%*s%s\n", indent, "", name);
        json_object_foreach((json_t *)value, key, member)
        {
            print_value(key, member, indent + 2);
        }
        return;
    }
    if (json_is_array(value)) {
        json_array_foreach(value, i, member)
        {
            print_value(i ? "" : name, member, indent);
        }
        return;
    }
    if (json_is_null(value) || (json_is_string(value) && !json_string_length(value))) {
        return;
    }
    // In ASCII and escaped: the terminal sees nothing of a guest's that it would obey.
    text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
    size_t n = text ? strlen(text) : 0;
    bool quoted = json_is_string(value) && n >= 2;
    int width = 22 - indent;
    size_t shown = quoted ? n - 2 : n;
    bool cut = shown > 400; // a chat template, say; --json has it whole
    printf("%*s%-*s %.*s%s\n", indent, "", width, name, (int)(cut ? 400 : shown),
           text ? text + quoted : "", cut ? " ..." : "");
    free(text);
}

static int inspect(int argc, char **argv)
{
    const char *uri = NULL, *words[1];
    size_t word_count;
    bool json = false;
    char error[900];
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--json", OPTION_FLAG, &json, false}};
    int status = tool_options(argc, argv, options, 2, words, 1, &word_count);
    struct guest_host h = {0};
    if (!status && word_count != 1) {
        status = tool_misuse("wanted: NAME");
    }
    if (status || (status = run_connect(&h, uri, true))) {
        return status;
    }
    struct view before = {0}, now = {0};
    int rc = look_take(&h, words[0], &before, error, sizeof error);
    if (!rc && before.guests[0].active) {
        nanosleep(&(struct timespec){.tv_nsec = SAMPLE_MS * 1000000}, NULL);
        rc = look_take(&h, words[0], &now, error, sizeof error);
    }
    if (rc) {
        status = tool_fail("%s", error);
    } else {
        json_t *o = describe(&h, &before, now.count ? &now : &before);
        const char *key;
        json_t *member;
        if (json) {
            status = look_print_json(o);
        } else {
            json_object_foreach(o, key, member)
            {
                print_value(key, member, 0);
            }
            json_decref(o);
        }
    }
    view_free(&before);
    view_free(&now);
    guest_host_close(&h);
    return status;
}

const struct tool_command tool_inspect = {
    .name = "inspect",
    .summary = "all that is known of one guest",
    .help =
        "Usage: tessera inspect NAME [OPTIONS]\n\n"
        "What it was made of and how its weights arrive, its devices (with those that the guest\n"
        "has no driver for), addresses, state, use, what /metrics and /props say, and commands\n"
        "that tell more.\n\n"
        "  --json           as an object\n"
        "  --connect URI    libvirt's connection\n",
    .run = inspect,
};
