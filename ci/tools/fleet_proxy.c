// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: drives a fleet's endpoint without libvirt or agent.
//   fleet-proxy FLEET.YAML apply|sync|commands|stop|stats|master|folder < MEMBERS
// A line of MEMBERS: "member NAME SERVICE VERSION PORT SLOT ready|drain up|down", or "share SERVICE
// STABLE-SLOT SHARE", or "replicas SERVICE N". The key of the guests' API is always "internal".
#include "hypercall/host/fleet/proxy_process.h"
#include "hypercall/host/fleet/proxy_runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct proxy_member members[64];
static struct proxy_share shares[8];
static struct proxy_input in = {.members = members, .shares = shares};
static struct fleet_record record;
static char folder[1024], error[1000];

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, error);
    return 1;
}

static int read_input(void)
{
    char line[300], state[16], health[16], service[64];
    unsigned replicas;
    while (fgets(line, sizeof line, stdin)) {
        struct proxy_member *m = &members[in.member_count];
        struct proxy_share *s = &shares[in.share_count];
        if (in.member_count < 64 &&
            sscanf(line, "member %48s %20s %12s %u %u %15s %15s", m->name, m->service, m->version,
                   &m->port, &m->slot, state, health) == 7) {
            m->state = strcmp(state, "drain") == 0 ? PROXY_DRAIN : PROXY_READY;
            m->known_up = strcmp(health, "up") == 0;
            in.member_count++;
        } else if (in.share_count < 8 &&
                   sscanf(line, "share %20s %u %u", s->service, &s->stable_slot, &s->share) == 3) {
            in.share_count++;
        } else if (sscanf(line, "replicas %20s %u", service, &replicas) == 2 &&
                   fleet_service(&record, service)) {
            fleet_service(&record, service)->has_replicas = true;
            fleet_service(&record, service)->replicas = replicas;
        } else if (line[0] != '\n') {
            fprintf(stderr, "not understood: %s", line);
            return 2;
        }
    }
    return 0;
}

static int apply(void)
{
    struct proxy_files files;
    enum proxy_done done;
    if (proxy_files(&in, &files, error, sizeof error)) {
        return fail("files");
    }
    int rc = proxy_apply(&files, folder, &done, error, sizeof error);
    proxy_files_free(&files);
    if (rc) {
        return fail("apply");
    }
    puts(done == PROXY_STARTED ? "started" : done == PROXY_RELOADED ? "reloaded" : "unchanged");
    return 0;
}

static int sync_servers(bool run)
{
    struct proxy_row *rows;
    size_t count, refused = 0;
    struct text commands = {0};
    if (proxy_stats(folder, &rows, &count, error, sizeof error)) {
        return fail("stats");
    }
    if (proxy_sync(&in, rows, count, &commands) ||
        (run && proxy_run_commands(folder, commands.data, &refused, error, sizeof error))) {
        return fail("sync");
    }
    if (!run) {
        fputs(commands.data, stdout);
    }
    free(rows);
    free(commands.data);
    return refused ? fail("refused") : 0;
}

static int stats(void)
{
    static const char *const healths[] = {"down", "up", "drain", "maint"};
    struct proxy_row *rows;
    size_t count;
    if (proxy_stats(folder, &rows, &count, error, sizeof error)) {
        return fail("stats");
    }
    for (size_t i = 0; i < count; i++) {
        if (rows[i].type == PROXY_ROW_SERVER && !rows[i].backup) {
            printf("%s/%s %s requests=%llu errors=%llu sessions=%llu\n", rows[i].backend,
                   rows[i].server, healths[rows[i].health], (unsigned long long)rows[i].requests,
                   (unsigned long long)rows[i].errors_5xx, (unsigned long long)rows[i].sessions);
        }
    }
    free(rows);
    return 0;
}

int main(int argc, char **argv)
{
    struct fleet_spec spec;
    if (argc != 3) {
        fprintf(stderr, "fleet-proxy FLEET.YAML WHAT\n");
        return 2;
    }
    if (fleet_spec_read(argv[1], &spec, error, sizeof error) ||
        proxy_folder("qemu:///session", spec.name, folder, sizeof folder, error, sizeof error) ||
        fleet_record_new(&spec, &record, error, sizeof error)) {
        return fail("start");
    }
    strcpy(record.internal_key, "internal");
    in.record = &record;
    in.folder = folder;
    const char *what = argv[2];
    int rc = 2;
    if (strcmp(what, "stop") == 0) {
        rc = proxy_stop(folder, 500, error, sizeof error) ? fail("stop") : 0;
    } else if (strcmp(what, "stats") == 0) {
        rc = stats();
    } else if (strcmp(what, "master") == 0) {
        rc = printf("%d %u\n", (int)proxy_master(folder), proxy_workers(folder)) < 0;
    } else if (strcmp(what, "folder") == 0) {
        char wake[1024];
        rc = printf("%s\n", folder) < 0;
        for (unsigned i = 0; i < 2 * record.spec.model_count; i++) {
            proxy_wake_path(folder, record.spec.models[i / 2].name, i & 1, wake, sizeof wake);
            printf("%s %c %s\n", record.spec.models[i / 2].name, i & 1 ? 'b' : 'a', wake);
        }
    } else if (read_input() == 0) {
        rc = strcmp(what, "apply") == 0      ? apply()
             : strcmp(what, "sync") == 0     ? sync_servers(true)
             : strcmp(what, "commands") == 0 ? sync_servers(false)
                                             : 2;
    }
    fleet_record_free(&record);
    return rc;
}
