// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera ls`, `stop` and `logs`: guests that `tessera run` made, found by what their domains say.
#include "hypercall/host/tool/run.h"

#include "hypercall/host/machine/console.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// ---- ls ----------------------------------------------------------------------------------------

static const char *state_of(virDomainPtr d)
{
    int state, reason;
    if (virDomainGetState(d, &state, &reason, 0) != 0) {
        return "gone";
    }
    return state == VIR_DOMAIN_RUNNING    ? "running"
           : state == VIR_DOMAIN_PAUSED   ? "paused"
           : state == VIR_DOMAIN_SHUTDOWN ? "stopping"
           : state == VIR_DOMAIN_SHUTOFF  ? "off"
           : state == VIR_DOMAIN_CRASHED  ? "crashed"
                                          : "other";
}

static void print_guest(virDomainPtr d, const struct machine_facts *f, bool json, bool first)
{
    virDomainInfo info = {0};
    const char *name = virDomainGetName(d), *slash = strrchr(f->model, '/');
    char url[128] = "";
    virDomainGetInfo(d, &info);
    guest_url(d, f, url, sizeof url);
    if (!json) {
        printf("%-24s %-28s %-9s %5u %7lu  %-8s %s\n", name, slash ? slash + 1 : f->model,
               state_of(d), info.nrVirtCpu, info.memory / 1024, f->offload[0] ? f->offload : "-",
               url);
        return;
    }
    fputs(first ? "{\"name\":" : ",{\"name\":", stdout);
    tool_print_json_text(name, strlen(name));
    printf(",\"state\":\"%s\",\"model\":", state_of(d));
    tool_print_json_text(f->model, strlen(f->model));
    fputs(",\"identity\":", stdout);
    tool_print_json_text(f->identity, strlen(f->identity));
    printf(",\"vcpus\":%u,\"memory_mb\":%lu,\"url\":\"%s\",\"offload\":", info.nrVirtCpu,
           info.memory / 1024, url);
    tool_print_json_text(f->offload, strlen(f->offload));
    fputs(",\"console\":", stdout);
    tool_print_json_text(f->console_log, strlen(f->console_log));
    putchar('}');
}

static int by_name(const void *a, const void *b)
{
    return strcmp(virDomainGetName(*(const virDomainPtr *)a),
                  virDomainGetName(*(const virDomainPtr *)b));
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
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(h.libvirt, &domains, 0);
    if (count < 0) {
        char error[400];
        machine_say_libvirt("listing guests", error, sizeof error);
        guest_host_close(&h);
        return tool_fail("%s", error);
    }
    qsort(domains, (size_t)count, sizeof *domains, by_name);
    if (json) {
        putchar('[');
    } else {
        printf("%-24s %-28s %-9s %5s %7s  %-8s %s\n", "NAME", "MODEL", "STATE", "CPUS", "MB",
               "OFFLOAD", "URL");
    }
    bool first = true;
    for (int i = 0; i < count; i++) {
        struct machine_facts facts;
        char *xml =
            virDomainGetMetadata(domains[i], VIR_DOMAIN_METADATA_ELEMENT, MACHINE_NAMESPACE, 0);
        if (xml && machine_facts_parse(xml, &facts) == 0) {
            print_guest(domains[i], &facts, json, first);
            first = false;
        }
        free(xml);
        virDomainFree(domains[i]);
    }
    if (json) {
        puts("]");
    }
    free(domains);
    guest_host_close(&h);
    return TOOL_OK;
}

const struct tool_command tool_ls = {
    .name = "ls",
    .summary = "the guests that run here",
    .help = "Usage: tessera ls [OPTIONS]\n\n"
            "Lists the guests of `tessera run`, with their models and URLs.\n\n"
            "  --json           as a JSON array\n"
            "  --connect URI    libvirt's connection\n",
    .run = list,
};

// ---- stop --------------------------------------------------------------------------------------

// Those after one that is missing are handled all the same.
static int each(int argc, char **argv, struct tool_option *options, size_t count, const char **uri,
                int (*one)(struct guest_host *h, const char *name, void *context), void *context)
{
    const char *words[64];
    size_t word_count;
    struct guest_host h = {.progress = weights_progress_on_terminal()};
    int status = tool_options(argc, argv, options, count, words, 64, &word_count);
    if (status) {
        return status;
    }
    if (word_count == 0) {
        return tool_misuse("wanted: NAME...");
    }
    status = run_connect(&h, *uri, true);
    if (status) {
        return status;
    }
    run_catch_interrupts();
    for (size_t i = 0; i < word_count; i++) {
        int this_one = one(&h, words[i], context);
        status = this_one ? this_one : status;
    }
    guest_host_close(&h);
    return status;
}

static int stop_one(struct guest_host *h, const char *name, void *context)
{
    char error[900];
    bool in_order;
    int rc =
        guest_stop(h, name, *(uint32_t *)context, &run_interrupts, &in_order, error, sizeof error);
    if (rc) {
        return run_failed(rc, error);
    }
    printf("%s: %s\n", name, in_order ? "powered off" : "destroyed: it did not power off");
    return TOOL_OK;
}

static int stop(int argc, char **argv)
{
    const char *uri = NULL;
    uint32_t seconds = 10;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--timeout", OPTION_COUNT, &seconds, false}};
    return each(argc, argv, options, 2, &uri, stop_one, &seconds);
}

const struct tool_command tool_stop_guest = {
    .name = "stop",
    .summary = "shuts guests down in order",
    .help =
        "Usage: tessera stop NAME... [OPTIONS]\n\n"
        "Presses the guest's power button: it finishes its answers and powers off. One that has\n"
        "not done so in time is destroyed. A guest of `run --detach` stays defined: `tessera\n"
        "start` starts it again, `tessera rm` removes it.\n\n"
        "  --timeout SECONDS    before it is destroyed (10)\n"
        "  --connect URI        libvirt's connection\n",
    .run = stop,
};

// ---- start -------------------------------------------------------------------------------------

struct start {
    uint32_t port, timeout;
};

static int start_one(struct guest_host *h, const char *name, void *context)
{
    const struct start *s = context;
    char error[900];
    struct guest g;
    uint64_t begun = tool_now_ns();
    int rc = guest_start(h, name, s->port, &g, error, sizeof error);
    uint64_t created = tool_now_ns();
    if (!rc) {
        rc = guest_wait(h, &g, s->timeout, &run_interrupts, error, sizeof error);
        if (rc && rc != -EINTR) {
            run_show_console(g.console_log);
        }
        if (rc == -EINTR) {
            snprintf(error, sizeof error, "interrupted; the guest goes on");
        }
    }
    if (!rc) {
        printf("%s: %s serves after %.0f ms\n", name, g.url, (double)(tool_now_ns() - begun) / 1e6);
    }
    (void)created;
    guest_free(h, &g);
    return rc ? run_failed(rc, error) : TOOL_OK;
}

static int start(int argc, char **argv)
{
    const char *uri = NULL;
    struct start s = {.timeout = 120};
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--port", OPTION_COUNT, &s.port, false},
                                    {"--timeout", OPTION_COUNT, &s.timeout, false}};
    return each(argc, argv, options, 3, &uri, start_one, &s);
}

const struct tool_command tool_start_guest = {
    .name = "start",
    .summary = "starts guests that are off",
    .help = "Usage: tessera start NAME... [OPTIONS]\n\n"
            "Starts guests of `tessera run --detach` that were stopped, and waits until they\n"
            "serve.\n\n"
            "  --port N             moves it to this port\n"
            "  --timeout SECONDS    for the guest to serve (120)\n"
            "  --connect URI        libvirt's connection\n",
    .run = start,
};

// ---- rm ----------------------------------------------------------------------------------------

static int remove_one(struct guest_host *h, const char *name, void *context)
{
    char error[900];
    bool in_order = true;
    int rc = *(bool *)context
                 ? guest_stop(h, name, 10, &run_interrupts, &in_order, error, sizeof error)
                 : 0;
    rc = rc ? rc : guest_remove(h, name, error, sizeof error);
    if (rc) {
        return run_failed(rc, error);
    }
    printf("%s: removed\n", name);
    return TOOL_OK;
}

static int remove_guests(int argc, char **argv)
{
    const char *uri = NULL;
    bool force = false;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--force", OPTION_FLAG, &force, false}};
    return each(argc, argv, options, 2, &uri, remove_one, &force);
}

const struct tool_command tool_rm = {
    .name = "rm",
    .summary = "removes guests that are off",
    .help = "Usage: tessera rm NAME... [OPTIONS]\n\n"
            "Removes the definition, a saved state and the console's log. The model stays.\n\n"
            "  --force          stops those that run first\n"
            "  --connect URI    libvirt's connection\n",
    .run = remove_guests,
};

// ---- logs --------------------------------------------------------------------------------------

// A guest that is gone has no domain, but its log is still in its place.
static int find_log(const char *uri, const char *name, char *path, size_t path_bytes)
{
    char error[900];
    struct guest_host h = {0};
    virDomainPtr d;
    struct machine_facts facts;
    int status = run_connect(&h, uri, true);
    if (status) {
        return status;
    }
    int rc = machine_find(h.libvirt, name, &d, &facts, error, sizeof error);
    if (rc == 0) {
        snprintf(path, path_bytes, "%s", facts.console_log);
        virDomainFree(d);
    }
    guest_host_close(&h);
    char unused[100];
    if (rc == -ENOENT && machine_name_is_valid(name) &&
        console_log_path(name, 0, path, path_bytes, unused, sizeof unused) == 0 &&
        access(path, F_OK) == 0) {
        rc = 0;
    }
    return rc ? tool_fail("%s", error) : TOOL_OK;
}

static int logs(int argc, char **argv)
{
    const char *uri = NULL, *words[1];
    size_t word_count;
    uint32_t lines = 0;
    bool follow = false;
    char path[PATH_MAX];
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"-n", OPTION_COUNT, &lines, false},
                                    {"-f", OPTION_FLAG, &follow, false}};
    int status = tool_options(argc, argv, options, 3, words, 1, &word_count);
    if (status) {
        return status;
    }
    if (word_count != 1) {
        return tool_misuse("wanted: NAME");
    }
    status = find_log(uri, words[0], path, sizeof path);
    if (status) {
        return status;
    }
    uint64_t at = 0;
    int rc = console_print_file(stdout, path, lines, &at);
    while (!rc && follow && fflush(stdout) == 0 && !ferror(stdout)) {
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
        rc = console_print_file(stdout, path, 0, &at);
    }
    return rc ? tool_fail("%s: %s", path, strerror(-rc)) : TOOL_OK;
}

const struct tool_command tool_logs = {
    .name = "logs",
    .summary = "what a guest's console showed",
    .help = "Usage: tessera logs NAME [OPTIONS]\n\n"
            "Also of a guest that has ended, until the next one of its name.\n\n"
            "  -n LINES         only the last so many\n"
            "  -f               go on until Ctrl-C\n"
            "  --connect URI    libvirt's connection\n",
    .run = logs,
};
