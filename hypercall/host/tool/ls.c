// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera ls`: the guests of a connection, and what they do at this moment.
#include "hypercall/host/tool/look.h"

#include <string.h>
#include <time.h>

enum { SAMPLE_MS = 400 };

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool any_runs(const struct view *v)
{
    for (size_t i = 0; i < v->count; i++) {
        if (v->guests[i].active) {
            return true;
        }
    }
    return false;
}

// Of the columns with names that may be long.
struct widths {
    int name, model, fleet;
};

static void widen(int *width, const char *text)
{
    int n = (int)strlen(text);
    *width = n > *width ? n : *width;
}

static struct widths measure(const struct view *v)
{
    struct widths w = {20, 24, 10};
    for (size_t i = 0; i < v->count; i++) {
        widen(&w.name, v->guests[i].name);
        widen(&w.model, base_name(v->guests[i].facts.model));
        widen(&w.fleet, v->guests[i].facts.fleet);
    }
    return w;
}

static void print_line(const struct view_guest *g, const struct view_rates *r, struct widths w)
{
    char cpu[16] = "-", memory[32], tokens[16] = "-", place[64] = "-";
    snprintf(memory, sizeof memory, "%llu", (unsigned long long)g->memory_mb);
    if (g->active) {
        snprintf(cpu, sizeof cpu, "%.0f%%", r->cpu_percent);
    }
    if (g->metrics.known) {
        snprintf(memory, sizeof memory, "%.0f/%llu", g->metrics.memory_used_bytes / 1048576,
                 (unsigned long long)g->memory_mb);
        snprintf(tokens, sizeof tokens, "%.1f", r->tokens);
    }
    if (!g->url[0] && !g->facts.network[0] && g->facts.port) {
        snprintf(place, sizeof place, "its machine's 127.0.0.1:%u", g->facts.port);
    }
    printf("%-*s %-*s %-9s %4u %5s %9s %7s  %-*s %-7s %s\n", w.name, g->name, w.model,
           base_name(g->facts.model), g->state, g->vcpus, cpu, memory, tokens, w.fleet,
           g->facts.fleet[0] ? g->facts.fleet : "-", g->facts.offload[0] ? g->facts.offload : "-",
           g->url[0] ? g->url : place);
}

static int print(const struct view *before, const struct view *now, bool json)
{
    json_t *all = json ? json_array() : NULL;
    struct widths w = measure(now);
    if (!json) {
        printf("%-*s %-*s %-9s %4s %5s %9s %7s  %-*s %-7s %s\n", w.name, "NAME", w.model, "MODEL",
               "STATE", "CPUS", "CPU", "MEMORY MB", "TOK/S", w.fleet, "FLEET", "OFFLOAD", "URL");
    }
    for (size_t i = 0; i < now->count; i++) {
        struct view_rates r;
        view_rate(before, now, &now->guests[i], &r);
        if (json) {
            json_array_append_new(all, look_json(&now->guests[i], &r));
        } else {
            print_line(&now->guests[i], &r, w);
        }
    }
    for (size_t i = 0; !json && i < now->count; i++) {
        if (now->guests[i].why[0]) {
            printf("%s is %s: %s\n", now->guests[i].name, now->guests[i].state, now->guests[i].why);
        }
    }
    return json ? look_print_json(all) : TOOL_OK;
}

static int list(int argc, char **argv)
{
    const char *uri = NULL, *words[1];
    size_t word_count;
    bool json = false;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--json", OPTION_FLAG, &json, false}};
    int status = tool_options(argc, argv, options, 2, words, 0, &word_count);
    struct guest_host h = {0};
    if (status || (status = run_connect(&h, uri, true))) {
        return status;
    }
    char error[900];
    struct view before, now = {0};
    int rc = look_take(&h, NULL, &before, error, sizeof error);
    if (!rc && any_runs(&before)) { // what they do is seen by looking twice
        nanosleep(&(struct timespec){.tv_nsec = SAMPLE_MS * 1000000}, NULL);
        rc = look_take(&h, NULL, &now, error, sizeof error);
    }
    guest_host_close(&h);
    status = rc ? tool_fail("%s", error) : print(&before, now.guests ? &now : &before, json);
    if (!rc && !json && before.count == 0) { // there may be some where nobody looks
        fprintf(stderr, "(no guests at %s; `tessera run MODEL` starts one)\n", h.uri);
    }
    view_free(&before);
    view_free(&now);
    return status;
}

const struct tool_command tool_ls = {
    .name = "ls",
    .summary = "the guests, and what they do",
    .help = "Usage: tessera ls [OPTIONS]\n\n"
            "Lists the guests of `tessera run` and of fleets: model, state, CPUs, their use (100%\n"
            "is one busy CPU), memory in use of what it has, tokens a second, URL.\n\n"
            "States: running; loading (not ready yet); unhealthy (it runs and does not serve);\n"
            "flapping (a fleet's guest that ends again and again); paused; stopping; suspended\n"
            "(saved, `tessera resume` goes on with it); off; crashed.\n\n"
            "  --json           as a JSON array\n"
            "  --connect URI    libvirt's connection\n",
    .run = list,
};
