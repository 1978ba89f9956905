// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera scale`: how many guests a service has.
#include "hypercall/host/tool/fleet.h"

#include "hypercall/host/tool/run.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS = 20, WAIT_SECONDS = 300 };

struct change {
    char service[FLEET_SERVICE];
    uint32_t replicas;
};

static bool read_number(const char *text, uint32_t *out)
{
    char *end;
    unsigned long n = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
    if (text[0] < '0' || text[0] > '9' || *end || n > FLEET_MOST_REPLICAS) {
        return false;
    }
    *out = (uint32_t)n;
    return true;
}

// NAME N, NAME/SERVICE N, NAME SERVICE=N…
static int read_words(const char **words, size_t count, char fleet[FLEET_NAME],
                      struct change *changes, size_t *change_count)
{
    char service[FLEET_SERVICE];
    if (count < 2) {
        return tool_misuse("wanted: FLEET N, FLEET/SERVICE N or FLEET SERVICE=N…");
    }
    int status = fleet_tool_split(words[0], fleet, service);
    *change_count = 0;
    for (size_t i = 1; i < count && !status; i++) {
        struct change *c = &changes[(*change_count)++];
        const char *equals = strchr(words[i], '='), *number = equals ? equals + 1 : words[i];
        size_t n = equals ? (size_t)(equals - words[i]) : 0;
        if (!read_number(number, &c->replicas) || n >= FLEET_SERVICE ||
            (equals ? service[0] != 0 || n == 0 : count != 2)) {
            return tool_misuse("'%s': wanted is N or SERVICE=N, N from 0 to %d", words[i],
                               FLEET_MOST_REPLICAS);
        }
        snprintf(c->service, sizeof c->service, "%.*s", (int)(equals ? n : strlen(service)),
                 equals ? words[i] : service);
    }
    return status;
}

static int change(struct fleet_record *r, struct change *c)
{
    if (!c->service[0] && r->service_count == 1) {
        memcpy(c->service, r->services[0].name, sizeof c->service);
    }
    struct fleet_service *s = fleet_service(r, c->service);
    const struct fleet_model *m = s ? fleet_find(&r->spec, c->service) : NULL;
    if (!m) {
        return c->service[0]
                   ? tool_fail("the fleet '%s' has no service '%s' (`tessera status %s` "
                               "lists them)",
                               r->spec.name, c->service, r->spec.name)
                   : tool_fail("the fleet '%s' has %zu services: name one, %s/%s", r->spec.name,
                               r->service_count, r->spec.name, r->services[0].name);
    }
    const struct fleet_autoscale *a = &m->autoscale;
    if (a->enabled && (c->replicas < a->min || c->replicas > a->max)) {
        return tool_fail("%s: fleet.yaml's autoscale keeps it between %u and %u guests", c->service,
                         a->min, a->max);
    }
    run_say("%s: %u guest%s, were %u%s", c->service, c->replicas, c->replicas == 1 ? "" : "s",
            fleet_replicas(r, c->service), a->enabled ? "; autoscale goes on from there" : "");
    s->has_replicas = true;
    s->replicas = c->replicas;
    return TOOL_OK;
}

static int scale(int argc, char **argv)
{
    char fleet[FLEET_NAME];
    const char *uri = NULL, *words[WORDS];
    size_t word_count, change_count = 0;
    bool no_wait = false;
    uint32_t seconds = 0;
    struct change changes[WORDS];
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--no-wait", OPTION_FLAG, &no_wait, false},
                                    {"--timeout", OPTION_COUNT, &seconds, false}};
    struct fleet_tool t;
    struct fleet_record r;
    int status = tool_options(argc, argv, options, 3, words, WORDS, &word_count);
    status = status ? status : read_words(words, word_count, fleet, changes, &change_count);
    status = status ? status : fleet_tool_open(&t, uri);
    if (status) {
        return status;
    }
    status = fleet_tool_begin(&t, fleet, &r);
    if (!status) {
        for (size_t i = 0; i < change_count && !status; i++) {
            status = change(&r, &changes[i]);
        }
        seconds = seconds ? seconds : WAIT_SECONDS + r.spec.endpoint.drain_ms / 1000;
        status = status ? status : fleet_tool_commit(&t, &r);
        fleet_record_free(&r);
        if (!status && !no_wait) {
            status = fleet_tool_wait(&t, fleet, seconds, fleet_tool_settled, NULL);
        }
    }
    fleet_tool_close(&t);
    return status;
}

const struct tool_command tool_scale = {
    .name = "scale",
    .summary = "how many guests a service of a fleet has",
    .help = "Usage: tessera scale FLEET N | FLEET/SERVICE N | FLEET SERVICE=N… [OPTIONS]\n\n"
            "Waits until it is so. Guests that go end their requests first. It holds until "
            "fleet.yaml's\n"
            "own number changes; with autoscale it is where that goes on.\n\n"
            "  --no-wait            return when it is noted\n"
            "  --timeout SECONDS    to wait (300, and `drain` of fleet.yaml)\n"
            "  --connect URI        libvirt's connection\n",
    .run = scale,
};
