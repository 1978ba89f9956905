// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The guests' QEMU processes on this machine, found by the UUID on their command lines: which
// user's libvirt runs them does not matter.
#include "hypercall/host/view/private.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { COMMAND_MOST = 16 << 10 };

static size_t read_file(const char *pid, const char *name, char *out, size_t room)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.16s/%s", pid, name);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(out, 1, room - 1, f) : 0;
    if (f) {
        fclose(f);
    }
    out[n] = 0;
    return n;
}

// The argument after "-uuid", NULL: none.
static const char *find_uuid(const char *line, size_t bytes)
{
    for (const char *at = line; at < line + bytes; at += strlen(at) + 1) {
        const char *next = at + strlen(at) + 1;
        if (strcmp(at, "-uuid") == 0 && next < line + bytes) {
            return next;
        }
    }
    return NULL;
}

static uint64_t read_pss(const char *pid)
{
    char text[4096];
    read_file(pid, "smaps_rollup", text, sizeof text);
    const char *at = strstr(text, "\nPss:");
    return at ? strtoull(at + 5, NULL, 10) : 0;
}

// Field 22 of stat: ticks after the machine's start, as CLOCK_BOOTTIME counts.
static uint64_t read_began(const char *pid, uint64_t at_ns)
{
    char text[1024];
    struct timespec t;
    read_file(pid, "stat", text, sizeof text);
    char *field = strrchr(text, ')'); // the name may hold anything
    for (int i = 2; field && i < 22; i++) {
        field = strchr(field + 1, ' ');
    }
    clock_gettime(CLOCK_BOOTTIME, &t);
    uint64_t now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    uint64_t began =
        field ? strtoull(field + 1, NULL, 10) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK)) : 0;
    uint64_t age = began && began < now ? now - began : 0;
    return age && age < at_ns ? at_ns - age : began ? 1 : 0;
}

void view_processes(struct view *v)
{
    char *line = malloc(COMMAND_MOST);
    DIR *folder = line ? opendir("/proc") : NULL;
    for (struct dirent *e; folder && (e = readdir(folder));) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9') {
            continue;
        }
        size_t bytes = read_file(e->d_name, "cmdline", line, COMMAND_MOST);
        const char *uuid = find_uuid(line, bytes);
        for (size_t i = 0; uuid && i < v->count; i++) {
            if (strcmp(uuid, v->guests[i].uuid) == 0) {
                v->guests[i].pss_kb = read_pss(e->d_name);
                v->guests[i].began_ns = read_began(e->d_name, v->at_ns);
            }
        }
    }
    if (folder) {
        closedir(folder);
    }
    free(line);
}
