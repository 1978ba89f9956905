// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera top`: what the guests do, again each second.
#include "hypercall/host/machine/text.h"
#include "hypercall/host/tool/look.h"
#include "hypercall/host/tool/terminal.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// ---- the table ---------------------------------------------------------------------------------

static void milliseconds(double ms, char out[16])
{
    if (ms < 0) {
        snprintf(out, 16, "-");
    } else if (ms < 1000) {
        snprintf(out, 16, "%.0f ms", ms);
    } else {
        snprintf(out, 16, "%.1f s", ms / 1e3);
    }
}

static void add_guest(struct text *t, const struct view_guest *g, const struct view_rates *r)
{
    const struct view_metrics *m = &g->metrics;
    char p50[16], p95[16], first[16], cpu[24] = "-", rss[24] = "-", pss[24] = "-", tokens[24] = "-";
    char requests[48] = "-", kv[24] = "-";
    milliseconds(r->p50_ms, p50);
    milliseconds(r->p95_ms, p95);
    milliseconds(r->first_token_ms, first);
    if (g->active) {
        snprintf(cpu, sizeof cpu, "%.0f%%", r->cpu_percent);
    }
    if (g->rss_kb) {
        snprintf(rss, sizeof rss, "%llu", (unsigned long long)g->rss_kb >> 10);
    }
    if (g->pss_kb) {
        snprintf(pss, sizeof pss, "%llu", (unsigned long long)g->pss_kb >> 10);
    }
    if (m->known) {
        snprintf(tokens, sizeof tokens, "%.1f", r->tokens);
        snprintf(requests, sizeof requests, "%.0f/%.0f", m->running, m->waiting);
        snprintf(kv, sizeof kv, "%.0f%%", 100 * m->kv_usage);
    }
    text_add(t, "%-20s %-9s %5s %7s %7s %8s %8s %5s %8s %8s %8s\n", g->name, g->state, cpu, rss,
             pss, tokens, requests, kv, first, p50, p95);
}

static void add_table(struct text *t, const struct view *before, const struct view *now)
{
    double cpu = 0, tokens = 0, pss = 0;
    size_t active = 0;
    text_add(t, "%-20s %-9s %5s %7s %7s %8s %8s %5s %8s %8s %8s\n", "NAME", "STATE", "CPU",
             "RSS MB", "PSS MB", "TOK/S", "RUN/WAIT", "KV", "1ST TOK", "P50", "P95");
    for (size_t i = 0; i < now->count; i++) {
        struct view_rates r;
        view_rate(before, now, &now->guests[i], &r);
        add_guest(t, &now->guests[i], &r);
        cpu += r.cpu_percent;
        tokens += r.tokens;
        pss += (double)now->guests[i].pss_kb / 1024;
        active += now->guests[i].active;
    }
    text_add(t, "%zu guest%s, %zu active: CPU %.0f%%, PSS %.0f MB, %.1f tokens/s\n", now->count,
             now->count == 1 ? "" : "s", active, cpu, pss, tokens);
}

static int print_plain(const struct view *before, const struct view *now)
{
    struct text t = {0};
    add_table(&t, before, now);
    if (!t.failed) {
        fputs(t.data, stdout);
    }
    free(t.data);
    return t.failed ? tool_fail("no memory") : TOOL_OK;
}

static int print_json(const struct view *before, const struct view *now)
{
    json_t *o = json_object(), *all = json_array();
    for (size_t i = 0; i < now->count; i++) {
        struct view_rates r;
        view_rate(before, now, &now->guests[i], &r);
        json_array_append_new(all, look_json(&now->guests[i], &r));
    }
    json_object_set_new(o, "seconds", json_real((double)(now->at_ns - before->at_ns) / 1e9));
    json_object_set_new(o, "guests", all);
    return look_print_json(o);
}

// The lines that fit, each cut at the terminal's width: the table scrolls nothing away.
static int draw(const struct guest_host *h, const struct view *before, const struct view *now,
                unsigned seconds)
{
    struct text t = {0};
    unsigned rows, columns;
    terminal_size(&rows, &columns);
    text_add(&t, "tessera top   %s   each %u s   q: quit\n\n", h->uri, seconds);
    add_table(&t, before, now);
    if (t.failed) {
        free(t.data);
        return tool_fail("no memory");
    }
    fputs("\033[H", stdout);
    for (char *line = t.data, *end; *line && rows > 1; line = end + 1, rows--) {
        end = strchr(line, '\n');
        int n = (int)(end - line);
        printf("%.*s\033[K\n", n < (int)columns ? n : (int)columns, line);
    }
    fputs("\033[J", stdout);
    fflush(stdout);
    free(t.data);
    return TOOL_OK;
}

// ---- again and again ---------------------------------------------------------------------------

// Waits; true: 'q' was pressed, or Ctrl-C.
static bool wait_for_end(uint64_t until_ns, bool keys)
{
    for (;;) {
        uint64_t now = tool_now_ns();
        if (run_interrupts) {
            return true;
        }
        if (now >= until_ns) {
            return false;
        }
        struct pollfd in = {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN};
        uint64_t ms = (until_ns - now) / 1000000 + 1;
        if (poll(&in, 1, (int)(ms < 200 ? ms : 200)) > 0) {
            char c;
            ssize_t n = read(STDIN_FILENO, &c, 1);
            if (n <= 0 || c == 'q' || c == 'Q' || c == 3) {
                return true;
            }
        }
    }
}

static int turn(struct guest_host *h, struct view *v)
{
    char error[900];
    int rc = look_take(h, NULL, v, error, sizeof error);
    if (rc && virConnectIsAlive(h->libvirt) != 1) {
        // libvirt's daemon was restarted; the guests are still there.
        view_free(v);
        rc = guest_host_reopen(h, error, sizeof error);
        rc = rc ? rc : look_take(h, NULL, v, error, sizeof error);
    }
    return rc ? tool_fail("%s", error) : TOOL_OK;
}

static int show(struct guest_host *h, unsigned seconds, bool once, bool json)
{
    bool live = !once && !json && isatty(STDOUT_FILENO);
    bool keys = live && isatty(STDIN_FILENO);
    struct view before = {0}, now = {0};
    int status = turn(h, &before);
    once = once || (!live && !json);
    if (!status && live) {
        status = terminal_table(true);
    }
    while (!status) {
        if (wait_for_end(tool_now_ns() + seconds * 1000000000ull, keys)) {
            break;
        }
        status = turn(h, &now);
        if (!status) {
            status = json   ? print_json(&before, &now)
                     : live ? draw(h, &before, &now, seconds)
                            : print_plain(&before, &now);
        }
        if (once || fflush(stdout) != 0) {
            break;
        }
        view_free(&before);
        before = now;
        now = (struct view){0};
    }
    if (live) {
        terminal_restore();
    }
    view_free(&before);
    view_free(&now);
    return status;
}

static int top(int argc, char **argv)
{
    const char *uri = NULL, *words[1];
    size_t word_count;
    uint32_t seconds = 1;
    bool once = false, json = false;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--interval", OPTION_COUNT, &seconds, false},
                                    {"--once", OPTION_FLAG, &once, false},
                                    {"--json", OPTION_FLAG, &json, false}};
    int status = tool_options(argc, argv, options, 4, words, 0, &word_count);
    struct guest_host h = {0};
    if (!status && (seconds < 1 || seconds > 3600)) {
        status = tool_misuse("--interval: 1 to 3600 seconds");
    }
    if (status || (status = run_connect(&h, uri, true))) {
        return status;
    }
    run_catch_interrupts();
    status = show(&h, seconds, once, json);
    guest_host_close(&h);
    return status;
}

const struct tool_command tool_top = {
    .name = "top",
    .summary = "what the guests do, live",
    .help =
        "Usage: tessera top [OPTIONS]\n\n"
        "A table, again each second until q or Ctrl-C: CPU use of QEMU (100% is one CPU), its\n"
        "memory (RSS; PSS counts shared pages, as those of the weights, in parts), tokens a\n"
        "second, requests running and waiting, part of the KV cache in use, and of the requests\n"
        "that ended in the interval the median time to the first token, and of the whole\n"
        "request the median and the 95th percentile. Without a terminal one table is printed.\n\n"
        "  --interval S     seconds between two looks (1)\n"
        "  --once           one table, of one interval\n"
        "  --json           an object a line and interval; with --once one\n"
        "  --connect URI    libvirt's connection\n",
    .run = top,
};
