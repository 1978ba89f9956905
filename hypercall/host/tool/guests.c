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

// Not on standard output, which is for what was asked.
static void say_aside(const char *line)
{
    fprintf(stderr, "%s\n", line);
}

static int connect_to(const char *wanted, virConnectPtr *out)
{
    char error[900];
    const char *uri;
    bool is_system;
    if (machine_uri(wanted, &uri, &is_system, error, sizeof error) != 0) {
        return tool_misuse("%s", error);
    }
    if (machine_connect(uri, say_aside, out, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    return TOOL_OK;
}

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
    char url[64] = "";
    virDomainGetInfo(d, &info);
    if (f->port) {
        snprintf(url, sizeof url, "http://127.0.0.1:%u", f->port);
    }
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

static int list(int argc, char **argv)
{
    const char *uri = NULL, *words[1];
    size_t word_count;
    bool json = false;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--json", OPTION_FLAG, &json, false}};
    int status = tool_options(argc, argv, options, 2, words, 0, &word_count);
    virConnectPtr c;
    if (status || (status = connect_to(uri, &c))) {
        return status;
    }
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(c, &domains, 0);
    if (count < 0) {
        char error[400];
        machine_say_libvirt("listing guests", error, sizeof error);
        virConnectClose(c);
        return tool_fail("%s", error);
    }
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
    virConnectClose(c);
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

static int stop_one(virConnectPtr c, const char *name, uint32_t seconds)
{
    char error[400];
    virDomainPtr d;
    struct machine_facts facts;
    bool in_order;
    if (machine_find(c, name, &d, &facts, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    int rc = machine_stop(d, seconds, NULL, &in_order, error, sizeof error);
    virDomainFree(d);
    if (rc) {
        return tool_fail("%s: %s", name, error);
    }
    if (facts.offload[0]) {
        run_offload_undo(facts.offload_folder, name);
    }
    printf("%s: %s\n", name, in_order ? "powered off" : "destroyed: it did not power off");
    return TOOL_OK;
}

static int stop(int argc, char **argv)
{
    const char *uri = NULL, *words[64];
    size_t word_count;
    uint32_t seconds = 10;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--timeout", OPTION_COUNT, &seconds, false}};
    int status = tool_options(argc, argv, options, 2, words, 64, &word_count);
    virConnectPtr c;
    if (status) {
        return status;
    }
    if (word_count == 0) {
        return tool_misuse("wanted: NAME...");
    }
    if (seconds > 86400) {
        return tool_misuse("--timeout: at most 86400 seconds");
    }
    status = connect_to(uri, &c);
    if (status) {
        return status;
    }
    signal(SIGPIPE, SIG_IGN); // the daemon may go away meanwhile
    // Those after one that is missing are stopped all the same.
    for (size_t i = 0; i < word_count; i++) {
        int one = stop_one(c, words[i], seconds);
        status = one ? one : status;
    }
    virConnectClose(c);
    return status;
}

const struct tool_command tool_stop_guest = {
    .name = "stop",
    .summary = "shuts guests down in order",
    .help =
        "Usage: tessera stop NAME... [OPTIONS]\n\n"
        "Presses the guest's power button: it finishes its answers and powers off. One that has\n"
        "not done so in time is destroyed.\n\n"
        "  --timeout SECONDS    before it is destroyed (10)\n"
        "  --connect URI        libvirt's connection\n",
    .run = stop,
};

// ---- logs --------------------------------------------------------------------------------------

// A guest that is gone has no domain, but its log is still in its place.
static int find_log(const char *uri, const char *name, char *path, size_t path_bytes)
{
    char error[900];
    virConnectPtr c;
    virDomainPtr d;
    struct machine_facts facts;
    int status = connect_to(uri, &c);
    if (status) {
        return status;
    }
    int rc = machine_find(c, name, &d, &facts, error, sizeof error);
    if (rc == 0) {
        snprintf(path, path_bytes, "%s", facts.console_log);
        virDomainFree(d);
    }
    virConnectClose(c);
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
