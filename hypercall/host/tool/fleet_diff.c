// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera diff`: what `up` would change. Exit status as diff(1)'s: 0 nothing, 1 something; 2 is
// trouble.
#include "hypercall/host/tool/fleet.h"

#include <errno.h>
#include <stdlib.h>

static int print(const struct fleet_plan *p, bool json)
{
    struct text text = {0};
    if (json) {
        json_t *o = fleet_plan_to_json(p);
        char *line = o ? json_dumps(o, JSON_COMPACT) : NULL;
        puts(line ? line : "null");
        free(line);
        json_decref(o);
    } else {
        fleet_plan_print(p, &text);
        fputs(text.data ? text.data : "", stdout);
        free(text.data);
    }
    return p->changes ? TOOL_FAILED : TOOL_OK;
}

static int compare(struct fleet_tool *t, const struct fleet_spec *spec, bool json)
{
    char error[900];
    struct fleet_view v = {0};
    struct fleet_plan plan;
    int rc =
        fleet_view_take(t->host.libvirt, t->host.uri, spec->name, false, &v, error, sizeof error);
    bool there = rc == 0 && !v.record.down;
    rc = rc == -ENOENT ? 0 : rc;
    rc = rc ? rc
            : fleet_plan(there ? &v.record : NULL, spec, v.members, v.guest_count, &plan, error,
                         sizeof error);
    int status = TOOL_USAGE;
    if (rc) {
        tool_fail("%s", error);
    } else {
        status = print(&plan, json);
        fleet_plan_free(&plan);
    }
    fleet_view_free(&v);
    return status;
}

static int run(int argc, char **argv)
{
    const char *uri = NULL, *words[1] = {"fleet.yaml"};
    size_t word_count;
    bool json = false;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--json", OPTION_FLAG, &json, false}};
    struct fleet_tool t;
    struct fleet_spec spec;
    if (tool_options(argc, argv, options, 2, words, 1, &word_count) || fleet_tool_open(&t, uri)) {
        return TOOL_USAGE;
    }
    int status = TOOL_USAGE;
    if (fleet_tool_spec(&t, words[0], &spec) == TOOL_OK) {
        status = compare(&t, &spec, json);
        fleet_spec_free(&spec);
    }
    fleet_tool_close(&t);
    return status;
}

const struct tool_command tool_diff = {
    .name = "diff",
    .summary = "what `up` would change",
    .help = "Usage: tessera diff [FILE] [OPTIONS]\n\n"
            "Prints what differs between fleet.yaml and the fleet that is there. Changes nothing.\n"
            "Exit status: 0 nothing differs, 1 something does, 2 trouble.\n\n"
            "  --json               for programs\n"
            "  --connect URI        libvirt's connection\n",
    .run = run,
};
