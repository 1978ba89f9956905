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
enum { LOOK_MS = 200, TURNS_A_DOMAIN = 5 };

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
    if (rc == -ENOENT && look_is_local(h) && machine_name_is_valid(name) &&
        console_log_path(name, 0, path, path_bytes, unused, sizeof unused) == 0 &&
        access(path, F_OK) == 0) {
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

static int follow(struct guest_host *h, const char *name, const char *path, uint64_t at)
{
    int rc = 0;
    bool there = true;
    for (unsigned turn = 1; !rc && fflush(stdout) == 0 && !ferror(stdout); turn++) {
        if (!there || run_interrupts) {
            break;
        }
        usleep(LOOK_MS * 1000);
        if (turn % TURNS_A_DOMAIN == 0) {
            there = is_there(h, name);
        }
        rc = console_print_file(stdout, path, 0, &at);
        if (rc == -ENOENT) { // `rm` takes the log with it
            there = is_there(h, name);
            rc = there ? rc : 0;
        }
    }
    if (!there) {
        fflush(stdout);
        fprintf(stderr, "(%s was removed)\n", name);
    }
    return rc ? tool_fail("%s: %s", path, strerror(-rc)) : TOOL_OK;
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
    if (!status && !look_is_local(&h)) {
        status = tool_fail("the log %s is on the guest's machine: `tessera console %s --connect "
                           "'%s'` shows what the guest writes from now on",
                           path, words[0], h.uri);
    }
    if (!status) {
        int rc = console_print_file(stdout, path, lines, &at);
        status = rc ? tool_fail("%s: %s", path, strerror(-rc)) : TOOL_OK;
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
