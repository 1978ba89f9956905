// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera doctor`: what this machine has for guests, what each missing piece costs, and what mends
// it. The checks are in doctor_*.c; here are their table and the three ways to print findings.
#include "hypercall/host/tool/doctor.h"

#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// In this order: later ones use what earlier ones found.
static const struct doctor_check checks[] = {
    {"processor", check_processor},
    {"kvm", check_kvm},
    {"nested", check_nested},
    {"memory", check_memory},
    {"huge pages", check_huge_pages},
    {"numa", check_numa},
    {"iommu", check_iommu},
    {"devices", check_devices},
    {"programs", check_programs},
    {"image", check_image},
    {"libvirt", check_libvirt},
    {"qemu user", check_qemu_user},
    {"apparmor", check_apparmor},
    {"console log", check_console_log},
    {"network", check_network},
    {"model", check_model},
    {NULL, NULL},
};
static const char *const state_names[] = {"ok", "warning", "missing"};

// ---- findings ----------------------------------------------------------------------------------

static json_t *last(struct doctor *d)
{
    size_t n = json_array_size(d->findings);
    return n ? json_array_get(d->findings, n - 1) : NULL;
}

static void set_text(json_t *finding, const char *key, const char *format, va_list args)
{
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) {
        return;
    }
    for (char *c = text; *c; c++) { // names of files are anybody's: a terminal is shown them
        *c = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
    }
    json_t *value = json_string(text);
    json_object_set_new(finding, key, value ? value : json_string("(a name that is no UTF-8)"));
    free(text);
}

#define SET(d, key, format)                                                                        \
    do {                                                                                           \
        va_list args;                                                                              \
        va_start(args, format);                                                                    \
        set_text(last(d), key, format, args);                                                      \
        va_end(args);                                                                              \
    } while (0)

static void begin(struct doctor *d, enum doctor_state state)
{
    json_array_append_new(d->findings, json_pack("{ss ss sb}", "check", d->check, "state",
                                                 state_names[state], "blocks", 0));
}

void doctor_say(struct doctor *d, enum doctor_state state, const char *format, ...)
{
    begin(d, state);
    SET(d, "text", format);
}

void doctor_cost(struct doctor *d, const char *format, ...)
{
    SET(d, "cost", format);
}

void doctor_mend(struct doctor *d, const char *format, ...)
{
    SET(d, "mend", format);
}

void doctor_advise(struct doctor *d, const char *format, ...)
{
    SET(d, "advice", format);
}

void doctor_blocks(struct doctor *d)
{
    json_object_set_new(last(d), "blocks", json_true());
    d->blocked = true;
}

void doctor_leftover(struct doctor *d, int (*mend)(void *context), void *context,
                     const char *command, const char *format, ...)
{
    int rc = d->mend && mend ? mend(context) : 1;
    begin(d, rc == 0 ? DOCTOR_OK : DOCTOR_WARNING);
    SET(d, "text", format);
    if (mend) {
        json_object_set_new(last(d), "mended", json_boolean(rc == 0));
    }
    if (rc < 0) {
        doctor_cost(d, "it could not be mended: %s", strerror(-rc));
    }
    if (rc != 0 && command) {
        doctor_mend(d, "%s", command);
    }
}

const char *doctor_sudo(void)
{
    return geteuid() == 0 ? "" : "sudo ";
}

const char *doctor_user(void)
{
    const struct passwd *p = getpwuid(getuid());
    return p ? p->pw_name : "USER";
}

const char *doctor_quote(const char *path)
{
    static char out[4 * PATH_MAX];
    size_t n = 0;
    bool plain = path[strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                   "/._-+:@%,=")] == 0;
    if (plain) {
        return path;
    }
    out[n++] = '\'';
    for (; *path && n + 6 < sizeof out; path++) {
        if (*path == '\'') {
            memcpy(out + n, "'\\''", 4);
            n += 4;
        } else {
            out[n++] = *path;
        }
    }
    out[n++] = '\'';
    out[n] = 0;
    return out;
}

// ---- printing ----------------------------------------------------------------------------------

static const char *text_of(const json_t *finding, const char *key)
{
    return json_string_value(json_object_get(finding, key));
}

static void print_line(const char *word, const char *text)
{
    if (text) {
        printf("%23s%-8s%s\n", "", word, text);
    }
}

static void print_findings(const struct doctor *d)
{
    size_t i, counts[3] = {0};
    json_t *f;
    const char *before = "";
    json_array_foreach(d->findings, i, f)
    {
        const char *check = text_of(f, "check"), *state = text_of(f, "state");
        bool blocks = json_is_true(json_object_get(f, "blocks"));
        printf("%-9s%-14s%s%s%s\n", state, strcmp(check, before) ? check : "", text_of(f, "text"),
               json_is_true(json_object_get(f, "mended")) ? ": mended" : "",
               blocks ? " (no guest can run)" : "");
        print_line("costs:", text_of(f, "cost"));
        print_line("mend:", text_of(f, "mend"));
        print_line("advice:", text_of(f, "advice"));
        before = check;
        for (int s = 0; s < 3; s++) {
            counts[s] += strcmp(state, state_names[s]) == 0;
        }
    }
    printf("\n%s: %zu ok, %zu to know of, %zu missing\n",
           d->blocked ? "No guest can run here"
           : d->kvm   ? "Guests can run here, by hardware (KVM)"
                      : "Guests can run here, by emulation (TCG)",
           counts[0], counts[1], counts[2]);
}

// A shell script for people to read and run.
static void print_plan(const struct doctor *d)
{
    size_t i, k;
    json_t *f, *other;
    puts("#!/bin/sh\n# What `tessera doctor` would do to this machine. Read it before you run it.\n"
         "set -e");
    json_array_foreach(d->findings, i, f)
    {
        const char *mend = text_of(f, "mend"), *advice = text_of(f, "advice");
        if (!mend && !advice) {
            continue;
        }
        printf("\n# %s: %s\n", text_of(f, "check"), text_of(f, "text"));
        if (advice) {
            printf("# by hand: %s\n", advice);
        }
        bool again = false;
        json_array_foreach(d->findings, k, other)
        {
            const char *earlier = text_of(other, "mend");
            again |= k < i && mend && earlier && strcmp(earlier, mend) == 0;
        }
        if (mend) {
            printf("%s%s\n", again ? "# as above: " : "", mend);
        }
    }
}

static int print_json(const struct doctor *d)
{
    json_t *o = json_pack("{sb ss sO}", "can_run", !d->blocked, "accel", d->kvm ? "kvm" : "tcg",
                          "findings", d->findings);
    int rc = o ? json_dumpf(o, stdout, JSON_COMPACT) : -1;
    json_decref(o);
    putchar('\n');
    return rc ? tool_fail("no memory") : TOOL_OK;
}

// ---- the command -------------------------------------------------------------------------------

static void run_checks(struct doctor *d, const struct doctor_check *all)
{
    for (; all->name; all++) {
        d->check = all->name;
        all->run(d);
    }
}

static int run(int argc, char **argv)
{
    const char *words[1];
    size_t word_count;
    bool json = false, plan = false;
    struct doctor d = {.root = ""};
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &d.uri, false},
                                    {"--json", OPTION_FLAG, &json, false},
                                    {"--fix-plan", OPTION_FLAG, &plan, false},
                                    {"--mend", OPTION_FLAG, &d.mend, false},
                                    {"--root", OPTION_TEXT, &d.root, false}};
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    if (status) {
        return status;
    }
    if (d.mend && d.root[0]) {
        return tool_misuse("--mend is for this machine, --root for another's files");
    }
    d.model = word_count ? words[0] : NULL;
    d.root = strcmp(d.root, "/") == 0 ? "" : d.root;
    d.findings = json_array();
    ssize_t n = readlink("/proc/self/exe", d.folder, sizeof d.folder - 1);
    if (!d.findings || n <= 0) {
        json_decref(d.findings);
        return tool_fail("no memory");
    }
    d.folder[n] = 0;
    *strrchr(d.folder, '/') = 0;
    run_checks(&d, checks);
    if (!d.root[0]) {
        run_checks(&d, doctor_leftovers);
    }
    if (json) {
        status = print_json(&d);
    } else if (plan) {
        print_plan(&d);
    } else {
        print_findings(&d);
    }
    if (d.system && d.system != d.libvirt) {
        virConnectClose(d.system);
    }
    if (d.libvirt) {
        virConnectClose(d.libvirt);
    }
    json_decref(d.findings);
    return status ? status : d.blocked ? TOOL_FAILED : TOOL_OK;
}

const struct tool_command tool_doctor = {
    .name = "doctor",
    .summary = "what this machine has for guests, and how to mend what it lacks",
    .help =
        "Usage: tessera doctor [MODEL] [OPTIONS]\n\n"
        "Looks at the processor, KVM, memory, huge pages, the IOMMU and its groups, libvirt and "
        "its\n"
        "permissions, programs, and at what killed commands left behind. Each line is ok, warning "
        "or\n"
        "missing, with what that costs and the command that mends it. Nothing is changed.\n\n"
        "  MODEL                also: may QEMU's user read this file?\n"
        "  --connect URI        libvirt's connection (LIBVIRT_DEFAULT_URI, else qemu:///session;\n"
        "                       for root qemu:///system)\n"
        "  --fix-plan           only the commands, as a shell script\n"
        "  --mend               remove what killed commands left behind, where that is safe\n"
        "  --root FOLDER        look at another machine's /proc, /sys, /dev, /usr, copied there\n"
        "  --json               as one JSON object\n\n"
        "Exit status: 0 guests can run here, 1 they cannot, 2 wrong usage.\n",
    .run = run,
};
