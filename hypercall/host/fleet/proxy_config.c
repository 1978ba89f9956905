// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// haproxy.cfg of a fleet (HAProxy 2.6, configuration.txt). proxy.h says how a request goes.
#include "hypercall/host/fleet/proxy_private.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    // A buffer holds a whole request, so that it can be sent again: body and headers.
    BUFFER_BYTES = PROXY_REQUEST_BYTES + (32 << 10),
    MOST_CONNECTIONS = 2000,
    MOST_THREADS = 4,
    // That a request may wait for a guest to start, and a little: the agent answers first.
    WAKE_MS = PROXY_HOLD_MS + 5000,
    CLIENT_MS = 600000, // that a client may take for the next part of an answer
};

// Each connection takes two descriptors; HAProxy refuses to start with fewer than it may need.
static unsigned most_connections(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_max == RLIM_INFINITY) {
        return MOST_CONNECTIONS;
    }
    rlim_t most = l.rlim_max > 400 ? (l.rlim_max - 200) / 3 : 64;
    return most < MOST_CONNECTIONS ? (unsigned)most : MOST_CONNECTIONS;
}

static void add_error(struct text *t, unsigned status, const char *message, const char *type)
{
    text_add(t,
             "    http-error status %u content-type application/json string "
             "'{\"error\":{\"code\":%u,\"message\":\"%s\",\"type\":\"%s\"}}'%s\n",
             status, status, message, type, status == 503 ? " hdr Retry-After 1" : "");
}

static void add_head(const struct proxy_input *in, struct text *t)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    text_add(t,
             "# Made by tessera of the fleet '%s'; changes are lost.\n"
             "global\n"
             "    maxconn %u\n"
             "    nbthread %ld\n"
             "    tune.bufsize %d\n"
             "    hard-stop-after 1h\n"
             "    stats socket %s/haproxy.sock mode 600 level admin expose-fd listeners\n"
             "    stats timeout 10s\n"
             "    ssl-default-bind-options ssl-min-ver TLSv1.2\n",
             in->record->spec.name, most_connections(),
             cpus < 1              ? 1
             : cpus > MOST_THREADS ? MOST_THREADS
                                   : cpus,
             BUFFER_BYTES, in->folder);
    uint32_t silence_ms = in->record->spec.endpoint.timeout_ms;
    text_add(t,
             "defaults\n"
             "    mode http\n"
             "    timeout connect 4s\n"
             "    timeout client %ums\n"
             "    timeout server %ums\n",
             silence_ms > CLIENT_MS ? silence_ms : CLIENT_MS, silence_ms);
    text_add(t, "    timeout http-request 30s\n"
                "    timeout http-keep-alive 60s\n"
                "    timeout queue 2m\n"
                "    option http-buffer-request\n"
                "    option http-server-close\n"
                "    option http-no-delay\n"
                "    option abortonclose\n"
                "    http-reuse never\n"
                // A request is repeated while its answer has not begun; making text changes nothing
                // in a guest. Not on a time-out: the guest may well be at work still.
                "    option redispatch 1\n"
                "    retries 5\n"
                "    retry-on conn-failure empty-response junk-response 503\n");
    add_error(t, 400, "this is no valid HTTP request", "invalid_request_error");
    add_error(t, 408, "the request did not come whole within 30 seconds", "invalid_request_error");
    add_error(t, 500, "the endpoint failed", "server_error");
    add_error(t, 502, "the guest gave no valid answer", "server_error");
    add_error(t, 503, "no guest is ready for this model", "unavailable_error");
    add_error(t, 504, "the guest did not answer in time", "server_error");
}

// `format` is a log format of HAProxy's: what is in %[…] is put in.
static void add_refusal(struct text *t, unsigned status, const char *type, const char *format,
                        const char *condition)
{
    text_add(t,
             "    http-request return status %u content-type application/json lf-string "
             "'{\"error\":{\"code\":%u,\"message\":\"%s\",\"type\":\"%s\"}}' %s\n",
             status, status, format, type, condition);
}

static void add_client(const struct proxy_input *in, struct text *t)
{
    const struct fleet_endpoint *e = &in->record->spec.endpoint;
    text_add(t, "    http-request set-var(txn.key) req.fhdr(authorization),"
                "regsub('^[^ ]+ +','') if { req.fhdr(authorization) -m beg -i \"bearer \" }\n"
                "    http-request set-var(txn.key) req.fhdr(x-api-key) "
                "if !{ var(txn.key) -m found } { req.fhdr(x-api-key) -m found }\n"
                "    http-request set-var(txn.client) var(txn.key),sha2(256),hex,lower "
                "if { var(txn.key) -m found }\n");
    if (e->keys_file[0] || e->key_count) {
        char condition[FLEET_PATH + 100];
        snprintf(condition, sizeof condition,
                 "unless { var(txn.client) -m found } { var(txn.client) -m str -f %s/%s }",
                 in->folder, proxy_file_basename(PROXY_KEYS));
        add_refusal(t, 401, "authentication_error",
                    "a valid key is needed: Authorization: Bearer KEY", condition);
    }
    text_add(t,
             "    http-request set-var(txn.client) src unless { var(txn.client) -m found }\n"
             "    http-request del-header X-Api-Key\n"
             "    http-request set-header Authorization \"Bearer %s\"\n",
             in->record->internal_key);
}

static void add_map_var(const struct proxy_input *in, struct text *t, const char *variable,
                        enum proxy_file_name map, const char *more)
{
    text_add(t, "    http-request set-var(txn.%s) var(txn.service),map_str(%s/%s)%s\n", variable,
             in->folder, proxy_file_basename(map), more);
}

static void add_model(const struct proxy_input *in, struct text *t)
{
    text_add(t, "    http-request set-var(txn.model) req.body,json_query('$.model')\n");
    add_refusal(t, 400, "invalid_request_error",
                "the field model cannot be read; is the body valid JSON?",
                "if !{ var(txn.model) -m found } { req.body -m sub '\"model\"' }");
    text_add(t,
             "    http-request set-var(txn.service) str(%s) if !{ var(txn.model) -m found }\n"
             "    http-request set-var(txn.service) var(txn.model),map_str(%s/%s) "
             "if { var(txn.model) -m found }\n",
             in->record->spec.models[0].name, in->folder, proxy_file_basename(PROXY_MODELS));
    add_refusal(t, 404, "not_found_error",
                "this fleet has no model %[var(txn.model),bytes(0,100),json(utf8s)]; GET "
                "/v1/models lists what it has",
                "unless { var(txn.service) -m found }");
}

static void add_version(const struct proxy_input *in, struct text *t)
{
    text_add(t, "    http-request set-var(txn.version) req.hdr(x-tessera-version),lower "
                "if { req.hdr(x-tessera-version) -m found }\n"
                "    acl versioned var(txn.version) -m found\n");
    add_map_var(in, t, "stable", PROXY_STABLE, "");
    add_map_var(in, t, "other", PROXY_OTHER, "");
    add_map_var(in, t, "canary", PROXY_CANARY, " if versioned");
    add_map_var(in, t, "va", PROXY_VERSION_A, " if versioned");
    add_map_var(in, t, "vb", PROXY_VERSION_B, " if versioned");
    text_add(t, "    http-request set-var(txn.backend) var(txn.stable) "
                "if versioned { var(txn.version) -m str stable }\n"
                "    http-request set-var(txn.backend) var(txn.canary) if versioned "
                "{ var(txn.version) -m str canary } !{ var(txn.canary) -m str none }\n"
                "    http-request set-var(txn.backend) var(txn.service),concat(,,.a) "
                "if versioned !{ var(txn.version) -m str none } "
                "{ var(txn.version),strcmp(txn.va) eq 0 }\n"
                "    http-request set-var(txn.backend) var(txn.service),concat(,,.b) "
                "if versioned !{ var(txn.version) -m str none } "
                "{ var(txn.version),strcmp(txn.vb) eq 0 }\n");
    add_refusal(t, 404, "not_found_error",
                "%[var(txn.service)] has no version "
                "%[var(txn.version),bytes(0,40),json(utf8s)] now: stable, canary or a version that "
                "tessera status shows",
                "if versioned !{ var(txn.backend) -m found }");
    text_add(t,
             "    http-request set-var(txn.share) var(txn.service),map_str_int(%s/%s,0)\n"
             "    http-request set-var(txn.backend) var(txn.other) if !versioned "
             "{ %s,sub(txn.share) lt 0 }\n"
             "    http-request set-var(txn.backend) var(txn.stable) "
             "unless { var(txn.backend) -m found }\n"
             "    use_backend %%[var(txn.backend)]\n",
             in->folder, proxy_file_basename(PROXY_SHARES),
             // One client sees one version.
             in->record->spec.endpoint.sticky == FLEET_STICKY_KEY
                 ? "var(txn.client),crc32c,mod(10000)"
                 : "rand(10000)");
}

static void add_frontend(const struct proxy_input *in, struct text *t)
{
    const struct fleet_endpoint *e = &in->record->spec.endpoint;
    bool is_six = strchr(e->host, ':') != NULL;
    char condition[100];
    text_add(t, "frontend endpoint\n    bind %s%s%s:%u", is_six ? "[" : "", e->host,
             is_six ? "]" : "", e->port);
    if (e->certificate[0]) {
        text_add(t, " ssl crt %s/%s alpn h2,http/1.1", in->folder, proxy_file_basename(PROXY_PEM));
    }
    text_add(t,
             "\n    acl is_up str(*),map_str(%s/%s,starting) -m str ok\n"
             "    http-request return status 200 content-type application/json string "
             "'{\"status\":\"ok\"}' if { path /health } is_up\n",
             in->folder, proxy_file_basename(PROXY_HEALTH));
    add_refusal(t, 503, "unavailable_error", "not every model of the fleet has a guest that is up",
                "if { path /health }");
    text_add(t,
             "    http-request return status 200 content-type application/json file %s/%s "
             "if { path /v1/models } { method GET }\n",
             in->folder, proxy_file_basename(PROXY_LIST));
    add_client(in, t);
    text_add(t, "    http-request use-service prometheus-exporter if { path /metrics } "
                "{ method GET }\n");
    snprintf(condition, sizeof condition, "if { req.body_size gt %d }", PROXY_REQUEST_BYTES);
    add_refusal(t, 413, "invalid_request_error",
                "the body of the request is larger than the 256 KB that the endpoint takes",
                condition);
    add_model(in, t);
    add_version(in, t);
}

void proxy_server_options(const struct fleet_health *h, struct text *out)
{
    // A guest that is down is looked at more often, so that it is used as soon as it is up. A
    // connection that fails counts as a failed check: the next request goes elsewhere at once.
    uint32_t down = h->interval_ms < 500 ? h->interval_ms : 500;
    text_add(out,
             "check inter %ums fastinter %ums downinter %ums fall %u rise %u observe layer4 "
             "error-limit 1 on-error mark-down",
             h->interval_ms, down, down, h->fall, h->rise);
}

static void add_backend(const struct proxy_input *in, const struct fleet_model *m, unsigned slot,
                        const struct proxy_server *servers, size_t count, struct text *t)
{
    char backend[PROXY_BACKEND], wake[FLEET_PATH];
    proxy_backend(m->name, slot, backend);
    proxy_wake_path(in->folder, m->name, slot, wake, sizeof wake);
    text_add(t,
             "backend %s\n"
             "    balance %s\n"
             "    timeout check %ums\n"
             "    option httpchk\n"
             "    http-check send meth GET uri %s ver HTTP/1.1 hdr Host fleet\n"
             "    http-check expect status 200\n"
             "    http-response set-header X-Tessera-Guest %%s\n",
             backend,
             in->record->spec.endpoint.sticky == FLEET_STICKY_KEY
                 ? "hash var(txn.client)\n    hash-type consistent\n    hash-balance-factor 150"
                 : "leastconn",
             m->health.timeout_ms, m->health.path);
    if (in->record->spec.endpoint.timeout_ms < WAKE_MS) {
        text_add(t,
                 "    http-request set-timeout server %dms "
                 "unless { str(%s),map_str(%s/%s,starting) -m str ok }\n",
                 WAKE_MS, m->name, in->folder, proxy_file_basename(PROXY_HEALTH));
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(servers[i].backend, backend) == 0 && servers[i].is_up) {
            text_add(t, "    server %s 127.0.0.1:%u ", servers[i].member->name,
                     servers[i].member->port);
            proxy_server_options(&m->health, t);
            text_add(t, "\n");
        }
    }
    text_add(t, "    server wake unix@%s backup\n", wake);
}

void proxy_configuration(const struct proxy_input *in, const struct proxy_server *servers,
                         size_t count, struct text *out)
{
    const struct fleet_spec *s = &in->record->spec;
    add_head(in, out);
    add_frontend(in, out);
    for (size_t i = 0; i < s->model_count; i++) {
        add_backend(in, &s->models[i], 0, servers, count, out);
        add_backend(in, &s->models[i], 1, servers, count, out);
    }
}
