// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera check`: is this fleet.yaml right, and are the files there that it names?
#include "hypercall/host/fleet/spec.h"

#include "hypercall/host/tool/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int look_at(const char *field, const char *path)
{
    if (!path[0] || access(path, R_OK) == 0) {
        return 0;
    }
    return tool_fail("%s: %s: %s", field, path, strerror(errno));
}

// Every file is told that is missing, not only the first.
static int look_at_files(const struct fleet_spec *s)
{
    const struct fleet_endpoint *e = &s->endpoint;
    int bad = look_at("endpoint.keys", e->keys_file);
    bad |= look_at("endpoint.tls.certificate", e->certificate);
    bad |= look_at("endpoint.tls.key", e->key);
    for (size_t i = 0; i < s->model_count; i++) {
        const struct fleet_variant *both[] = {&s->models[i].variant, &s->models[i].canary};
        for (size_t j = 0; j < 1u + s->models[i].has_canary; j++) {
            char field[64];
            snprintf(field, sizeof field, "models[%zu].%s%s", i, j ? "canary." : "", "model");
            bad |= look_at(field, both[j]->model[0] == '/' ? both[j]->model : "");
            snprintf(field, sizeof field, "models[%zu].%s%s", i, j ? "canary." : "", "image");
            bad |= look_at(field, both[j]->image);
        }
    }
    return bad;
}

static int run(int argc, char **argv)
{
    bool schema = false, json = false;
    const char *path = NULL;
    size_t words;
    struct tool_option options[] = {{"--schema", OPTION_FLAG, &schema, false},
                                    {"--json", OPTION_FLAG, &json, false}};
    int status = tool_options(argc, argv, options, 2, &path, 1, &words);
    if (status) {
        return status;
    }
    if (schema) {
        fputs(fleet_schema(), stdout);
        return TOOL_OK;
    }
    if (words != 1) {
        return tool_misuse("which file? For example: tessera check fleet.yaml");
    }
    struct fleet_spec s;
    char error[700];
    if (fleet_spec_read(path, &s, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    status = look_at_files(&s) ? TOOL_FAILED : TOOL_OK;
    if (status == TOOL_OK && json) {
        json_t *o = fleet_spec_to_json(&s);
        char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
        status = text ? TOOL_OK : tool_fail("no memory");
        printf("%s\n", text ? text : "");
        free(text);
        json_decref(o);
    } else if (status == TOOL_OK) {
        uint32_t guests = 0;
        for (size_t i = 0; i < s.model_count; i++) {
            guests +=
                s.models[i].replicas + (s.models[i].has_canary ? s.models[i].canary_replicas : 0);
        }
        printf("%s: fleet '%s': %zu model%s, %u guest%s, endpoint http%s://%s:%u\n", path, s.name,
               s.model_count, s.model_count == 1 ? "" : "s", guests, guests == 1 ? "" : "s",
               s.endpoint.certificate[0] ? "s" : "", s.endpoint.host, s.endpoint.port);
    }
    fleet_spec_free(&s);
    return status;
}

const struct tool_command tool_check = {
    .name = "check",
    .summary = "is a fleet.yaml right?",
    .help =
        "Usage: tessera check FILE [--json]\n"
        "       tessera check --schema\n\n"
        "Reads a fleet's specification and says what is wrong with it: file, line, field, and "
        "what\n"
        "would be right; also which of the files that it names cannot be read. Changes nothing.\n\n"
        "  --json               prints the specification's normal form, with every default\n"
        "  --schema             prints the JSON Schema of fleet.yaml, for editors\n",
    .run = run,
};
