// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera doctor`: files of keys (machine/key.h) whose guest or fleet is not there, as a killed
// command leaves them. Of connections that doctor does not have nothing is said.
#include "hypercall/host/guest/guest.h"
#include "hypercall/host/machine/key.h"
#include "hypercall/host/tool/doctor.h"

#include <dirent.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { YOUNG_S = 60 }; // a file comes a moment before its domain

static bool is_young(const char *path)
{
    struct stat s;
    return stat(path, &s) != 0 || time(NULL) - s.st_mtime < YOUNG_S;
}

// Is this the path that the connection's domain `name` would have, and is there no such domain?
static bool is_orphan(virConnectPtr c, const char *name, const char *path)
{
    char own[PATH_MAX], unused[200];
    char *uri = c ? virConnectGetURI(c) : NULL;
    bool mine = uri && key_path(name, uri, own, sizeof own, unused, sizeof unused) == 0 &&
                strcmp(own, path) == 0;
    free(uri);
    virDomainPtr domain = mine ? virDomainLookupByName(c, name) : NULL;
    const virError *e = virGetLastError();
    if (domain) {
        virDomainFree(domain);
    }
    return mine && !domain && e && e->code == VIR_ERR_NO_DOMAIN;
}

static void look_at(struct doctor *d, const char *path, int claims)
{
    char name[64];
    const char *file = strrchr(path, '/') + 1, *dash = strrchr(file, '-');
    size_t n = strlen(file);
    if (is_young(path)) {
        return;
    }
    if (n > 5 && strcmp(file + n - 5, ".part") == 0) {
        doctor_leftover_file(d, path, "a key's file that was never finished");
        return;
    }
    if (!dash || dash - file >= (ptrdiff_t)sizeof name) {
        return;
    }
    memcpy(name, file, (size_t)(dash - file));
    name[dash - file] = 0;
    // A run that is just starting its guest has claimed its name.
    if (key_path_is_of(path, name) && guest_claim_name(claims, name) &&
        (is_orphan(d->libvirt, name, path) || is_orphan(d->system, name, path))) {
        doctor_leftover_file(d, path, "the key of a guest or fleet that is not there");
    }
}

void doctor_keys(struct doctor *d)
{
    char folder[PATH_MAX - 80], path[PATH_MAX], error[300];
    if (key_folder(folder, sizeof folder, error, sizeof error) != 0) {
        return;
    }
    int claims = guest_claims_open(error, sizeof error);
    DIR *all = claims < 0 ? NULL : opendir(folder);
    for (const struct dirent *e; all && (e = readdir(all)) != NULL;) {
        int n = snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.' && n > 0 && n < (int)sizeof path) {
            look_at(d, path, claims);
        }
    }
    if (all) {
        closedir(all);
    }
    if (claims >= 0) {
        close(claims);
    }
}
