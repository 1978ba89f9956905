// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What is told of guests on another machine: where they serve, whether that is reached from here,
// and what their consoles showed.
#include "hypercall/host/tool/run.h"

#include <string.h>

enum { TAIL_LINES = 25 };

void run_show_guest_console(struct guest_host *h, const struct guest *g)
{
    char error[600];
    uint64_t at = 0;
    if (!h->is_remote) {
        run_show_console(g->console_log);
        return;
    }
    fprintf(stderr, "--- the guest's console (there: %s), last lines:\n", g->console_log);
    if (guest_print_remote_log(h, stderr, g->name, TAIL_LINES, &at, error, sizeof error) != 0) {
        fprintf(stderr, "(cannot be read: %s)\n", error);
    } else if (at == 0) {
        fprintf(stderr, "(nothing)\n");
    }
    fprintf(stderr, "---\n");
}

void run_print_guest_ready(struct guest_host *h, const struct guest *g,
                           const struct run_times *times)
{
    char why[900];
    guest_explain_reach(h, g, why, sizeof why);
    if (!why[0]) {
        run_print_ready(g, times);
        return;
    }
    run_say(
        "boot      %.0f ms: connection %.0f ms, model and plan %.0f ms, files, libvirt and QEMU "
        "%.0f ms, the guest %.0f ms until its console says that it is ready",
        times->connect + times->plan + times->create + times->guest, times->connect, times->plan,
        times->create, times->guest);
    run_say("endpoint  not reachable from here: %s", why);
}

void run_print_started(struct guest_host *h, const struct guest *g, double ms)
{
    char why[900];
    guest_explain_reach(h, g, why, sizeof why);
    if (why[0]) {
        printf("%s: ready after %.0f ms; not reachable from here: %s\n", g->name, ms, why);
    } else {
        printf("%s: %s serves after %.0f ms, %s\n", g->name, g->url, ms, guest_from_name(g->from));
    }
}
