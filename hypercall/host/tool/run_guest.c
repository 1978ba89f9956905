// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What commands on guests share: messages, the connection, Ctrl-C, and staying with a guest.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/tool/run.h"

#include "hypercall/host/machine/console.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TAIL_LINES = 25, STOP_SECONDS = 10 };

volatile int run_interrupts; // Ctrl-C: the second one hurries

void run_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(isatty(STDOUT_FILENO) ? "\033[1m==>\033[0m " : "==> ", stdout);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    va_end(args);
}

static void say_line(void *context, const char *line)
{
    (void)context;
    run_say("%s", line);
}

// Not on standard output, which is for what was asked.
static void say_aside(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

int run_failed(int rc, const char *error)
{
    return rc == -EINVAL ? tool_misuse("%s", error) : tool_fail("%s", error);
}

int run_connect(struct guest_host *h, const char *uri, bool aside)
{
    char error[900];
    h->stop = &run_interrupts;
    // The other end of libvirt's connection may go away while it is written to: an error, not
    // death.
    signal(SIGPIPE, SIG_IGN);
    h->say = aside ? say_aside : say_line;
    int rc = guest_host_open(h, uri, true, error, sizeof error);
    if (!rc) {
        if (!aside) {
            run_say("Connecting to libvirt (%s)", h->uri);
        }
        rc = guest_host_open(h, uri, false, error, sizeof error);
    }
    return rc ? run_failed(rc, error) : TOOL_OK;
}

static void on_interrupt(int number)
{
    (void)number;
    run_interrupts++;
}

void run_catch_interrupts(void)
{
    struct sigaction act = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
}

void run_show_console(const char *path)
{
    uint64_t at = 0;
    fprintf(stderr, "--- the guest's console (%s), last lines:\n", path);
    int rc = console_print_file(stderr, path, TAIL_LINES, &at);
    if (rc) {
        fprintf(stderr, "(cannot be read: %s)\n", strerror(-rc));
    } else if (at == 0) {
        fprintf(stderr, "(nothing)\n");
    }
    fprintf(stderr, "---\n");
}

// What a shell makes of it: the key from its file, where that can be typed as it is.
static void key_option(const struct guest *g, char *out, size_t out_bytes)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
    bool typed = access(g->key_file, R_OK) == 0 && !g->key_file[strspn(g->key_file, plain)];
    out[0] = 0;
    if (typed) {
        snprintf(out, out_bytes, " -H \"Authorization: Bearer $(cat %s)\"", g->key_file);
    } else if (g->key_file[0] || g->image_has_key) {
        snprintf(out, out_bytes, " -H 'Authorization: Bearer KEY'");
    }
}

void run_print_ready(const struct guest *g, const struct run_times *times)
{
    const char *body, *url = g->url, *listen = g->plan.listen;
    char used[32] = "?", shown[160], option[PATH_MAX + 50];
    if (g->endpoint && endpoint_get(g->endpoint, "/metrics", &body) == 200) {
        // A line's beginning: the comments before it name it, too.
        static const char metric[] = "\ntessera_memory_used_bytes ";
        const char *at = strstr(body, metric);
        if (at) {
            snprintf(used, sizeof used, "%.1f", strtod(at + sizeof metric - 1, NULL) / 1048576);
        }
    }
    bool local = strncmp(url, "http://127.0.0.1:", 17) == 0;
    snprintf(shown, sizeof shown, "%s%s", local ? "http://localhost:" : url, local ? url + 17 : "");
    run_say("URL       %s/v1/chat/completions", shown);
    run_say("boot      %.0f ms: connection %.0f ms, model and plan %.0f ms, libvirt and QEMU "
            "%.0f ms, the guest %.0f ms to the first 200 of /health",
            times->connect + times->plan + times->create + times->guest, times->connect,
            times->plan, times->create, times->guest);
    run_say("memory    %s MB of %u MB in use in the guest", used, g->plan.memory_mb);
    if (!g->plan.network && listen && strcmp(listen, "0.0.0.0") == 0) {
        run_say("open      on every address of the guest's machine, port %u", g->plan.port);
    }
    key_option(g, option, sizeof option);
    run_say("talk      curl %s/v1/chat/completions%s -d '{\"messages\":[{\"role\":\"user\","
            "\"content\":\"Hello\"}]}'",
            shown, option);
}

// ---- staying -----------------------------------------------------------------------------------

enum reach { GUEST_IS_THERE, GUEST_IS_GONE, NOT_KNOWN };

// libvirt's daemon may be restarted while its guests go on.
static enum reach reach(struct guest_host *h, struct guest *g)
{
    char error[400];
    struct machine_facts facts;
    if (g->domain && h->libvirt && virConnectIsAlive(h->libvirt) == 1) {
        int active = virDomainIsActive(g->domain);
        return active == 0 ? GUEST_IS_GONE : active > 0 ? GUEST_IS_THERE : NOT_KNOWN;
    }
    if (g->domain) {
        virDomainFree(g->domain);
        g->domain = NULL;
    }
    g->watch.callback = -1;
    if (guest_host_reopen(h, error, sizeof error) != 0) {
        return NOT_KNOWN;
    }
    int rc = machine_find(h->libvirt, g->name, &g->domain, &facts, error, sizeof error);
    if (rc) {
        return rc == -ENOENT ? GUEST_IS_GONE : NOT_KNOWN;
    }
    machine_watch_start(h->libvirt, g->name, &g->watch, error, sizeof error);
    return virDomainIsActive(g->domain) == 0 ? GUEST_IS_GONE : GUEST_IS_THERE;
}

static int tell_end(struct guest_host *h, struct guest *g)
{
    switch (machine_watch_look(&g->watch)) {
    case MACHINE_CRASHED:
        run_show_guest_console(h, g);
        return tool_fail("the guest crashed");
    case MACHINE_DESTROYED:
        run_say("The guest was destroyed from elsewhere");
        return TOOL_OK;
    default:
        run_say("The guest powered off");
        return TOOL_OK;
    }
}

static int stop_in_order(struct guest_host *h, struct guest *g)
{
    char error[400] = "libvirt's daemon is gone";
    bool in_order;
    run_say("Shutting down %s (Ctrl-C again: at once)", g->name);
    run_interrupts = 0;
    for (int attempt = 0;; attempt++) {
        if (reach(h, g) == GUEST_IS_GONE) {
            return tell_end(h, g);
        }
        if (g->domain && machine_stop(g->domain, STOP_SECONDS, &run_interrupts, &in_order, error,
                                      sizeof error) == 0) {
            break;
        }
        // The daemon may end in this very moment: another one knows the guest.
        if (attempt == 4) {
            return tool_fail("%s; the guest may still run: `tessera stop %s`", error, g->name);
        }
        sleep_ms(200);
    }
    run_say(in_order ? "The guest powered off" : "The guest was destroyed: it did not power off");
    return TOOL_OK;
}

static int stay(struct guest_host *h, struct guest *g)
{
    run_say("serving until Ctrl-C; `tessera logs %s` shows its console", g->name);
    for (unsigned turn = 1; !run_interrupts; turn++) {
        if (machine_watch_look(&g->watch) != MACHINE_RUNS) {
            return tell_end(h, g);
        }
        if (turn % 20 == 0 && reach(h, g) == GUEST_IS_GONE) {
            sleep_ms(200); // the event that says why may be on its way
            return tell_end(h, g);
        }
        sleep_ms(100);
    }
    return stop_in_order(h, g);
}

int run_stay(struct guest_host *h, struct guest *g)
{
    unsigned char uuid[VIR_UUID_BUFLEN];
    bool known = virDomainGetUUID(g->domain, uuid) == 0;
    int status = stay(h, g);
    if (known) {
        guest_forget_ended(h, g, uuid);
    }
    if (g->tensord_folder[0]) {
        guest_leave_tensord(g->tensord_folder, g->name);
    }
    return status;
}
