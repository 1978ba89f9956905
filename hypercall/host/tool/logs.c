// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera logs`: the file that libvirt writes a guest's console into, beside whoever has it open.
#include "hypercall/host/tool/look.h"

#include "hypercall/host/machine/console.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>
#include <unistd.h>

// One look at the log each, and one at libvirt now and then.
enum { LOOK_MS = 200, TURNS_A_DOMAIN = 5, REMOTE_LOOK_MS = 1000 };

// A guest that is gone has no domain, but its log is still in its place.
static int find_log(struct guest_host *h, const char *name, char *path, size_t path_bytes,
                    bool *exists)
{
    char error[900], unused[100];
    virDomainPtr d;
    struct machine_facts facts;
    int rc = machine_find(h->libvirt, name, &d, &facts, error, sizeof error);
    *exists = rc == 0;
    if (rc == 0) {
        snprintf(path, path_bytes, "%s", facts.console_log);
        virDomainFree(d);
    }
    if (rc == -ENOENT && machine_name_is_valid(name) &&
        (h->is_remote || (console_log_path(name, 0, path, path_bytes, unused, sizeof unused) == 0 &&
                          access(path, F_OK) == 0))) {
        rc = 0;
    }
    return rc ? tool_fail("%s", error) : TOOL_OK;
}

// Defined, or running. Where libvirt does not say, it is.
static bool is_there(struct guest_host *h, const char *name)
{
    char error[400];
    if (virConnectIsAlive(h->libvirt) != 1 && guest_host_reopen(h, error, sizeof error) != 0) {
        return true;
    }
    virDomainPtr d = virDomainLookupByName(h->libvirt, name);
    const virError *e = d ? NULL : virGetLastError();
    bool gone = e && e->code == VIR_ERR_NO_DOMAIN;
    if (d) {
        virDomainFree(d);
    }
    return !gone;
}

// What came since *at. A negative errno, with a message printed but for -ENOENT where quiet.
static int show_more(struct guest_host *h, const char *name, const char *path, unsigned lines,
                     uint64_t *at, bool quiet)
{
    char error[900];
    int rc = h->is_remote ? guest_print_remote_log(h, stdout, name, lines, at, error, sizeof error)
                          : console_print_file(stdout, path, lines, at);
    if (rc && !h->is_remote) {
        snprintf(error, sizeof error, "%.600s: %s", path, strerror(-rc));
    }
    if (rc && !(quiet && rc == -ENOENT)) {
        tool_fail("%s", error);
    }
    return rc;
}

static int show(struct guest_host *h, const char *name, const char *path, unsigned lines,
                uint64_t *at)
{
    return show_more(h, name, path, lines, at, false);
}

static int follow(struct guest_host *h, const char *name, const char *path, uint64_t at)
{
    int rc = 0;
    bool there = true;
    for (unsigned turn = 1; !rc && fflush(stdout) == 0 && !ferror(stdout); turn++) {
        if (!there || run_interrupts) {
            break;
        }
        usleep(h->is_remote ? REMOTE_LOOK_MS * 1000 : LOOK_MS * 1000);
        if (h->is_remote || turn % TURNS_A_DOMAIN == 0) {
            there = is_there(h, name);
        }
        rc = show_more(h, name, path, 0, &at, true);
        if (rc == -ENOENT) { // `rm` takes the log with it
            there = is_there(h, name);
            rc = 0;
        }
    }
    if (!there) {
        fflush(stdout);
        fprintf(stderr, "(%s was removed)\n", name);
    }
    return rc ? TOOL_FAILED : TOOL_OK;
}

static int logs(int argc, char **argv)
{
    const char *uri = NULL, *words[1];
    size_t word_count;
    uint32_t lines = 0;
    bool follows = false, exists = false;
    char path[PATH_MAX] = "";
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"-n", OPTION_COUNT, &lines, false},
                                    {"-f", OPTION_FLAG, &follows, false}};
    int status = tool_options(argc, argv, options, 3, words, 1, &word_count);
    struct guest_host h = {0};
    if (!status && word_count != 1) {
        status = tool_misuse("wanted: NAME");
    }
    if (status || (status = run_connect(&h, uri, true))) {
        return status;
    }
    uint64_t at = 0;
    status = find_log(&h, words[0], path, sizeof path, &exists);
    if (!status) {
        status = show(&h, words[0], path, lines, &at) ? TOOL_FAILED : TOOL_OK;
    }
    if (!status && follows && exists) {
        run_catch_interrupts();
        status = follow(&h, words[0], path, at);
    }
    guest_host_close(&h);
    return status;
}

const struct tool_command tool_logs = {
    .name = "logs",
    .summary = "what a guest's console showed",
    .help = "Usage: tessera logs NAME [OPTIONS]\n\n"
            "Also of a guest that has ended, until the next one of its name.\n\n"
            "  -n LINES         only the last so many\n"
            "  -f               go on until Ctrl-C, or until the guest is removed\n"
            "  --connect URI    libvirt's connection\n",
    .run = logs,
};
