// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest's description changed by a command's options.
#include "hypercall/host/tool/fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// "key=value key=value" in place of what is there of those keys.
static int set_settings(struct fleet_variant *v, const char *text)
{
    char *copy = strdup(text), *rest = copy;
    int status = copy ? TOOL_OK : tool_fail("no memory");
    for (char *word; !status && (word = strsep(&rest, " ")) != NULL;) {
        char *equals = strchr(word, '=');
        size_t at = 0;
        if (!*word) {
            continue;
        }
        if (!equals || equals == word || (size_t)(equals - word) >= sizeof v->settings[0].key ||
            strlen(equals + 1) >= sizeof v->settings[0].value || !machine_word_is_valid(word)) {
            status = tool_misuse("--settings: '%s' is no KEY=VALUE", word);
            break;
        }
        *equals = 0;
        while (at < v->setting_count && strcmp(v->settings[at].key, word) < 0) {
            at++;
        }
        if (at == v->setting_count || strcmp(v->settings[at].key, word) != 0) {
            if (v->setting_count == FLEET_MOST_SETTINGS) {
                status = tool_misuse("--settings: at most %d", FLEET_MOST_SETTINGS);
                break;
            }
            memmove(&v->settings[at + 1], &v->settings[at],
                    (v->setting_count - at) * sizeof v->settings[0]);
            v->setting_count++;
        }
        snprintf(v->settings[at].key, sizeof v->settings[at].key, "%s", word);
        snprintf(v->settings[at].value, sizeof v->settings[at].value, "%s", equals + 1);
    }
    free(copy);
    return status;
}

static int absolute(const char *path, char out[FLEET_PATH])
{
    char *full = realpath(path, NULL);
    if (!full || strlen(full) >= FLEET_PATH) {
        free(full);
        return tool_fail("%s: %s", path, strerror(full ? ENAMETOOLONG : errno));
    }
    snprintf(out, FLEET_PATH, "%s", full);
    free(full);
    return TOOL_OK;
}

int fleet_tool_change(const struct fleet_tool *t, const struct fleet_changes *o,
                      struct fleet_variant *v)
{
    int status = TOOL_OK;
    if (o->model && !strchr(o->model, '/') && access(o->model, F_OK) != 0 &&
        strlen(o->model) < sizeof v->model) {
        snprintf(v->model, sizeof v->model, "%s", o->model); // an installed one
    } else if (o->model) {
        status = absolute(o->model, v->model);
    }
    if (!status && o->image) {
        status = absolute(o->image, v->image);
    }
    if (!status && o->memory && machine_parse_memory(o->memory, &v->memory_mb) != 0) {
        status = tool_misuse("--memory: '%s' is no size like 512M or 2G", o->memory);
    }
    v->vcpus = o->vcpus ? o->vcpus : v->vcpus;
    if (!status && o->settings) {
        status = set_settings(v, o->settings);
    }
    return status ? status : fleet_tool_resolve(t, v);
}
