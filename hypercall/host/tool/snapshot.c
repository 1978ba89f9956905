// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera start`, `suspend` and `resume`: guests that are off, and their saved states.
#include "hypercall/host/tool/run.h"

#include <errno.h>

// ---- start -------------------------------------------------------------------------------------

struct start {
    uint32_t port, timeout;
    bool cold, ready;
    enum guest_from from; // with neither
};

static int start_one(struct guest_host *h, const char *name, void *context)
{
    const struct start *s = context;
    enum guest_from from = s->cold ? GUEST_FROM_BOOT : s->ready ? GUEST_FROM_READY : s->from;
    if (s->cold && s->ready) {
        return tool_misuse("--cold and --ready exclude each other");
    }
    char error[900];
    struct guest g;
    uint64_t begun = tool_now_ns();
    int rc = guest_start_from(h, name, s->port, from, &g, error, sizeof error);
    if (!rc) {
        rc = guest_wait(h, &g, s->timeout, &run_interrupts, error, sizeof error);
        if (rc && rc != -EINTR) {
            run_show_guest_console(h, &g);
        }
        if (rc == -EINTR) {
            snprintf(error, sizeof error, "interrupted; the guest goes on");
        }
    }
    if (!rc) {
        double ms = (double)(tool_now_ns() - begun) / 1e6;
        guest_note_start(&g, ms);
        run_print_started(h, &g, ms);
    }
    guest_free(h, &g);
    return rc ? run_failed(rc, error) : TOOL_OK;
}

static int start(int argc, char **argv)
{
    const char *uri = NULL;
    bool all = false;
    struct start s = {.timeout = 120, .from = GUEST_FROM_ANY};
    struct tool_option options[] = {
        {"--connect", OPTION_TEXT, &uri, false},   {"--all", OPTION_FLAG, &all, false},
        {"--port", OPTION_COUNT, &s.port, false},  {"--cold", OPTION_FLAG, &s.cold, false},
        {"--ready", OPTION_FLAG, &s.ready, false}, {"--timeout", OPTION_COUNT, &s.timeout, false}};
    return run_each(argc, argv, options, 6, start_one, &s);
}

const struct tool_command tool_start_guest = {
    .name = "start",
    .summary = "starts guests that are off",
    .help = "Usage: tessera start NAME...|--all [OPTIONS]\n\n"
            "Starts guests of `tessera run --detach` that were stopped, and waits until they\n"
            "serve. One that is suspended goes on; one with a ready state (`tessera suspend\n"
            "--ready`) begins there or boots, whichever was measured faster.\n\n"
            "  --all                all guests but those of fleets\n"
            "  --cold               boots; a suspended state is dropped\n"
            "  --ready              only from the ready state\n"
            "  --port N             moves it to this port\n"
            "  --timeout SECONDS    for the guest to serve (120)\n"
            "  --connect URI        libvirt's connection\n",
    .run = start,
};

static int resume(int argc, char **argv)
{
    const char *uri = NULL;
    bool all = false;
    struct start s = {.timeout = 120, .from = GUEST_FROM_SUSPENDED};
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--all", OPTION_FLAG, &all, false},
                                    {"--timeout", OPTION_COUNT, &s.timeout, false}};
    return run_each(argc, argv, options, 3, start_one, &s);
}

const struct tool_command tool_resume = {
    .name = "resume",
    .summary = "lets suspended guests go on",
    .help =
        "Usage: tessera resume NAME...|--all [OPTIONS]\n\n"
        "Restores guests of `tessera suspend` and waits until they serve. Refused when the\n"
        "image, the model, the host's CPU, QEMU or the guest's definition is another one now.\n\n"
        "  --all                all guests but those of fleets\n"
        "  --timeout SECONDS    for the guest to serve (120)\n"
        "  --connect URI        libvirt's connection\n",
    .run = resume,
};

// ---- suspend -----------------------------------------------------------------------------------

struct suspend {
    uint32_t seconds;
    bool force, ready;
};

static int suspend_one(struct guest_host *h, const char *name, void *context)
{
    const struct suspend *s = context;
    char error[900];
    uint64_t bytes = 0, begun = tool_now_ns();
    int rc = s->ready ? guest_save_ready(h, name, &bytes, error, sizeof error)
                      : guest_suspend(h, name, s->seconds, s->force, &run_interrupts, error,
                                      sizeof error);
    if (rc) {
        return run_failed(rc, error);
    }
    double ms = (double)(tool_now_ns() - begun) / 1e6;
    if (s->ready) {
        printf("%s: its ready state is saved (%.1f MB, %.0f ms) and it is off; `tessera start "
               "--ready %s` "
               "begins there\n",
               name, (double)bytes / 1048576, ms, name);
    } else {
        printf("%s: suspended in %.0f ms; `tessera resume %s` goes on\n", name, ms, name);
    }
    return TOOL_OK;
}

static int suspend(int argc, char **argv)
{
    const char *uri = NULL;
    bool all = false;
    struct suspend s = {.seconds = 30};
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--all", OPTION_FLAG, &all, false},
                                    {"--timeout", OPTION_COUNT, &s.seconds, false},
                                    {"--force", OPTION_FLAG, &s.force, false},
                                    {"--ready", OPTION_FLAG, &s.ready, false}};
    return run_each(argc, argv, options, 5, suspend_one, &s);
}

const struct tool_command tool_suspend = {
    .name = "suspend",
    .summary = "saves guests and switches them off",
    .help =
        "Usage: tessera suspend NAME...|--all [OPTIONS]\n\n"
        "Saves a guest's memory and switches it off; `tessera resume` goes on from there. Waits\n"
        "until no answer is under way.\n\n"
        "  --all                all guests but those of fleets\n"
        "  --ready              instead saves a guest that has had no request yet: every later\n"
        "                       `tessera start` may begin there, as often as wanted\n"
        "  --timeout SECONDS    for answers under way (30)\n"
        "  --force              with answers under way: their connections are lost\n"
        "  --connect URI        libvirt's connection\n",
    .run = suspend,
};
