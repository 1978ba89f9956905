// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera fleets` and `status`: what is there, and how it does.
#include "hypercall/host/tool/fleet.h"

#include <stdlib.h>
#include <string.h>

static void print_json(json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    puts(text ? text : "null");
    free(text);
    json_decref(j);
}

static int list(int argc, char **argv)
{
    char error[900], **names = NULL;
    const char *uri = NULL, *words[1];
    size_t word_count, count = 0;
    bool json = false;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--json", OPTION_FLAG, &json, false}};
    struct fleet_tool t;
    int status = tool_options(argc, argv, options, 2, words, 0, &word_count);
    status = status ? status : fleet_tool_open(&t, uri);
    if (status) {
        return status;
    }
    if (carrier_list(t.host.libvirt, &names, &count, error, sizeof error) != 0) {
        status = tool_fail("%s", error);
    }
    json_t *all = json_array();
    if (!status && !json) {
        printf("%-20s %-28s %-9s %s\n", "NAME", "ENDPOINT", "STATE", "SERVICES");
    }
    for (size_t i = 0; i < count; i++) {
        struct fleet_view v;
        if (fleet_view_take(t.host.libvirt, t.host.uri, names[i], false, &v, error, sizeof error) !=
            0) {
            status = tool_fail("%s: %s", names[i], error);
        } else if (json) {
            json_array_append_new(all, fleet_view_to_json(&v));
            fleet_view_free(&v);
        } else {
            char where[96];
            struct text summary = {0};
            snprintf(where, sizeof where, "%s:%u", v.record.spec.endpoint.host,
                     v.record.spec.endpoint.port);
            fleet_view_summary(&v, &summary);
            printf("%-20s %-28s %-9s %s\n", names[i], where,
                   v.record.down               ? "going"
                   : fleet_view_settled(&v, 0) ? "up"
                   : v.endpoint_runs           ? "changing"
                                               : "starting",
                   summary.data ? summary.data : "");
            free(summary.data);
            fleet_view_free(&v);
        }
        free(names[i]);
    }
    free(names);
    if (json) {
        print_json(json_incref(all));
    }
    json_decref(all);
    fleet_tool_close(&t);
    return status;
}

// ---- status ------------------------------------------------------------------------------------

static const char *text_of(const json_t *o, const char *key)
{
    const char *t = json_string_value(json_object_get(o, key));
    return t ? t : "";
}

static long long number_of(const json_t *o, const char *key)
{
    return (long long)json_number_value(json_object_get(o, key));
}

static void print_service(const json_t *s)
{
    size_t i;
    json_t *g, *d = json_object_get(s, "deployment");
    double p95 = json_number_value(json_object_get(s, "p95_ms"));
    printf("\n%s: %lld of %lld guests ready", text_of(s, "name"), number_of(s, "ready"),
           number_of(s, "wanted"));
    if (p95 >= 0) {
        printf(", %lld requests, 95 %% within %.0f ms", number_of(s, "requests"), p95);
    }
    putchar('\n');
    if (d) {
        printf("  deployment: %s of %s in place of %s: %s, %lld %%%s%s\n", text_of(d, "strategy"),
               text_of(d, "to"), text_of(d, "from"), text_of(d, "phase"), number_of(d, "weight"),
               text_of(d, "reason")[0] ? ": " : "", text_of(d, "reason"));
    }
    json_array_foreach(json_object_get(s, "guests"), i, g)
    {
        printf("  %-40s %-12s %-8s %-9s %6lld requests, %lld now, mean %lld ms  %s\n",
               text_of(g, "name"), text_of(g, "version"), text_of(g, "role"), text_of(g, "state"),
               number_of(g, "requests"), number_of(g, "running"), number_of(g, "mean_ms"),
               text_of(g, "note"));
    }
}

static void print_view(const json_t *v)
{
    size_t i;
    json_t *s, *p;
    printf("%s at %s%s\n", text_of(v, "name"), text_of(v, "endpoint"),
           json_is_true(json_object_get(v, "down"))             ? ": is being taken down"
           : json_is_true(json_object_get(v, "settled"))        ? ": as it is wanted"
           : !json_is_true(json_object_get(v, "endpoint_runs")) ? ": HAProxy does not run"
                                                                : ": changing");
    if (!json_is_true(json_object_get(v, "agent_runs"))) {
        puts("No agent runs: `tessera up` or `tessera agent` starts it; until then nothing is "
             "mended.");
    }
    json_array_foreach(json_object_get(v, "services"), i, s)
    {
        print_service(s);
    }
    json_array_foreach(json_object_get(v, "problems"), i, p)
    {
        printf("%s%s\n", i ? "  " : "\nProblems:\n  ", json_string_value(p));
    }
}

static int show(int argc, char **argv)
{
    char error[900], fleet[FLEET_NAME];
    const char *uri = NULL, *words[1] = {"fleet.yaml"};
    size_t word_count;
    bool json = false;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--json", OPTION_FLAG, &json, false}};
    struct fleet_tool t;
    struct fleet_view v;
    int status = tool_options(argc, argv, options, 2, words, 1, &word_count);
    status = status ? status : fleet_tool_name(words[0], fleet);
    status = status ? status : fleet_tool_open(&t, uri);
    if (status) {
        return status;
    }
    if (fleet_view_take(t.host.libvirt, t.host.uri, fleet, true, &v, error, sizeof error) != 0) {
        status = tool_fail("%s", error);
    } else {
        json_t *j = fleet_view_to_json(&v);
        fleet_view_free(&v);
        if (json) {
            print_json(j);
        } else {
            print_view(j);
            json_decref(j);
        }
    }
    fleet_tool_close(&t);
    return status;
}

const struct tool_command tool_fleets = {
    .name = "fleets",
    .summary = "all fleets",
    .help = "Usage: tessera fleets [--json] [--connect URI]\n",
    .run = list,
};
const struct tool_command tool_status = {
    .name = "status",
    .summary = "a fleet: services, guests, versions, requests, what is wrong",
    .help = "Usage: tessera status NAME|FILE [--json] [--connect URI]\n",
    .run = show,
};
