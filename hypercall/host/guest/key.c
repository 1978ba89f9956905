// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The key of a guest's API: in a file beside the guest's log, which QEMU reads when it starts, as
// whom it runs (reader.c).
#include "hypercall/host/machine/key.h"
#include "hypercall/host/guest/private.h"
#include "hypercall/host/remote/remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int guest_name_key(struct guest_host *h, struct guest *g, bool make, char *error,
                   size_t error_bytes)
{
    char text[MACHINE_KEY + 1];
    if (!g->plan.key) {
        return 0;
    }
    int rc = key_path(g->name, h->uri, g->key_file, sizeof g->key_file, error, error_bytes);
    g->plan.key_file = g->key_file;
    if (!rc && make) {
        snprintf(text, sizeof text, "%s\n", g->plan.key);
        rc = key_write(g->key_file, text, error, error_bytes);
        rc = rc ? rc : guest_give(g, g->key_file, error, error_bytes);
    }
    return rc;
}

// Nothing but a file of root's own among root's keys: those of other users' guests, whose QEMU runs
// as they do, lie elsewhere, and whoever may define domains may have written any path.
int guest_give_key(const struct guest_host *h, struct guest *g, const struct machine_facts *facts,
                   char *error, size_t error_bytes)
{
    char folder[PATH_MAX];
    struct stat s;
    int rc = geteuid() == 0 ? key_folder(folder, sizeof folder, error, error_bytes) : -EPERM;
    size_t length = rc ? 0 : strlen(folder);
    if (rc || strncmp(facts->key_file, folder, length) != 0 || facts->key_file[length] != '/' ||
        !key_path_is_of(facts->key_file, g->name)) {
        return 0;
    }
    rc = guest_find_reader(h, g, error, error_bytes);
    bool is_roots = !rc && lstat(facts->key_file, &s) == 0 && S_ISREG(s.st_mode) && s.st_uid == 0 &&
                    s.st_nlink == 1;
    return is_roots ? guest_give(g, facts->key_file, error, error_bytes) : rc;
}

void guest_name_remote_key(const struct remote *r, struct guest *g)
{
    if (g->plan.key) {
        remote_key_path(r, g->name, g->key_file, sizeof g->key_file);
        g->plan.key_file = g->key_file;
    }
}

int guest_write_remote_key(struct remote *r, struct guest *g, char *error, size_t error_bytes)
{
    char text[MACHINE_KEY + 1];
    if (!g->plan.key) {
        return 0;
    }
    guest_name_remote_key(r, g);
    snprintf(text, sizeof text, "%s\n", g->plan.key);
    return remote_key_write(r, g->name, text, error, error_bytes);
}

static void take_remote(virDomainPtr domain, bool is_system, struct machine_facts *facts)
{
    struct remote r;
    char text[MACHINE_KEY + 1], unused[400];
    if (remote_open(virDomainGetConnect(domain), is_system, &r, unused, sizeof unused) != 0) {
        return;
    }
    if (remote_key_read(&r, virDomainGetName(domain), text, sizeof text) == 0) {
        key_set(text, facts);
    }
    remote_close(&r);
}

void guest_take_key(virDomainPtr domain, struct machine_facts *facts)
{
    struct remote_machine m = {0};
    if (!facts->key_file[0]) {
        return;
    }
    char *uri = virConnectGetURI(virDomainGetConnect(domain));
    if (uri) {
        remote_machine_of(uri, &m);
    }
    if (m.host[0]) {
        take_remote(domain, strstr(uri, "/session") == NULL, facts);
    } else {
        key_take(virDomainGetName(domain), facts);
    }
    free(uri);
}
