// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Names go, and with the last one the blob, unless somebody has it mapped; what killed runs left.
#include "hypercall/host/base/files.h"
#include "hypercall/host/packages/install.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int pk_mapped_by(const char *path, char comm[32])
{
    struct stat s;
    char key[64], line[PATH_MAX + 128];
    int found = 0;
    DIR *proc = stat(path, &s) == 0 ? opendir("/proc") : NULL;
    comm[0] = 0;
    if (!proc) {
        return 0;
    }
    snprintf(key, sizeof key, " %02x:%02x %llu ", major(s.st_dev), minor(s.st_dev),
             (unsigned long long)s.st_ino);
    for (const struct dirent *d; !found && (d = readdir(proc));) {
        char name[64];
        int pid = atoi(d->d_name);
        snprintf(name, sizeof name, "/proc/%d/maps", pid);
        FILE *f = pid > 0 && pid != getpid() ? fopen(name, "re") : NULL; // others' are not shown
        while (f && !found && fgets(line, sizeof line, f)) {
            // Stacked file systems show another device there than stat does.
            found = strstr(line, key) || strstr(line, path) ? pid : 0;
        }
        if (f) {
            fclose(f);
        }
    }
    closedir(proc);
    snprintf(line, sizeof line, "/proc/%d/comm", found);
    FILE *f = found ? fopen(line, "re") : NULL;
    if (f && fgets(comm, 32, f)) {
        comm[strcspn(comm, "\n")] = 0;
    }
    if (f) {
        fclose(f);
    }
    return found;
}

// Names that need the blob, other than `but`.
static int count_needs(struct packages *p, const char *blob, const char *but, size_t *needs)
{
    struct packages_entry *list;
    size_t count;
    int rc = packages_list(p, &list, &count);
    *needs = 0;
    for (size_t i = 0; i < count && !rc; i++) {
        *needs += strcmp(list[i].blob, blob) == 0 && strcmp(list[i].name, but) != 0;
    }
    free(rc ? NULL : list);
    return rc;
}

static int check_unused(struct packages *p, const char *path, const char *what)
{
    char comm[32], who[256] = "";
    int pid = pk_mapped_by(path, comm);
    if (pid) {
        return pk_fail(p, -EBUSY,
                       "%s is in use: process %d (%s) has it mapped; --force does not "
                       "ask, and who has it mapped keeps it until its end",
                       what, pid, comm);
    }
    int rc = p->in_use ? p->in_use(p->in_use_context, path, who, sizeof who) : 0;
    return rc ? pk_fail(p, rc,
                        "%s is in use by %s; --force does not ask, and who has it mapped "
                        "keeps it until its end",
                        what, who)
              : 0;
}

void pk_drop_blob(struct packages *p, const char *blob)
{
    char path[PATH_MAX];
    size_t needs;
    if (count_needs(p, blob, "", &needs) == 0 && needs == 0 &&
        packages_blob_path(p, blob, path) == 0 && check_unused(p, path, blob) == 0) {
        unlink(path);
    }
}

static int remove_locked(struct packages *p, const char *name, bool force, uint64_t *freed)
{
    struct packages_entry e;
    char blob[PATH_MAX], path[PATH_MAX];
    size_t needs = 0;
    struct stat s = {0};
    int rc = packages_find(p, name, &e);
    bool broken = rc == -EBADMSG;
    rc = broken ? 0 : rc;
    rc = rc ? rc : pk_path(p, path, "names/%s", name);
    if (rc) {
        return rc;
    }
    if (!broken) {
        rc = packages_blob_path(p, e.blob, blob);
        rc = rc ? rc : count_needs(p, e.blob, name, &needs);
        if (!rc && !needs && !force) {
            rc = check_unused(p, blob, name);
        }
        if (rc) {
            return rc;
        }
    }
    // The name first: a blob without a name is waste, a name without its blob a fault.
    if (unlink(path) != 0) {
        return pk_fail(p, -errno, "%s: %s", path, strerror(errno));
    }
    (void)file_sync_folder(path);
    if (broken || needs) {
        return 0;
    }
    if (stat(blob, &s) == 0 && unlink(blob) == 0) {
        *freed = (uint64_t)s.st_blocks * 512;
        (void)file_sync_folder(blob);
    } else if (errno != ENOENT) {
        return pk_fail(p, -errno, "%s: %s (its name is removed; `tessera pkg prune` goes on)", blob,
                       strerror(errno));
    }
    return 0;
}

int packages_remove(struct packages *p, const char *name, bool force, uint64_t *freed)
{
    *freed = 0;
    int lock = pk_lock_store(p);
    if (lock < 0) {
        return lock;
    }
    int rc = remove_locked(p, name, force, freed);
    close(lock);
    return rc;
}

int packages_verify(struct packages *p, const struct packages_entry *e)
{
    char path[PATH_MAX], why[600], hex[65];
    uint8_t hash[32];
    struct stat s;
    int rc = packages_blob_path(p, e->blob, path);
    rc = rc ? rc : weights_content_sha256(path, true, &p->progress, hash, why, sizeof why);
    if (rc) {
        return pk_fail(p, rc == -ENOENT ? rc : -EBADMSG, "%s: %s; installing it again mends it",
                       e->name, why);
    }
    hex_write(hash, sizeof hash, hex);
    if (strcmp(hex, e->blob) != 0) {
        return pk_fail(p, -EBADMSG,
                       "%s: %s has changed: its SHA-256 is\n  %s, installed was\n  %s; installing "
                       "it again mends it",
                       e->name, path, hex, e->blob);
    }
    if (stat(path, &s) != 0 || s.st_size % WEIGHTS_MULTIPLE != 0) {
        return pk_fail(p, -EBADMSG,
                       "%s: %s is not of whole pages of 2 MB; installing it again mends it",
                       e->name, path);
    }
    return 0;
}

// ---- what is left over -------------------------------------------------------------------------

struct pruning {
    struct packages *p;
    bool remove;
    struct packages_leftovers *out;
};

static void take(struct pruning *g, const char *path, size_t *counter)
{
    struct stat s;
    if (lstat(path, &s) == 0 && (!g->remove || unlink(path) == 0)) {
        ++*counter;
        g->out->bytes += (uint64_t)s.st_blocks * 512;
    }
}

static void prune_blob(struct pruning *g, const char *path, const char *name)
{
    char blob[65];
    size_t needs;
    if (strlen(name) != 7 + 64 + 5 || strncmp(name, "sha256-", 7) != 0) {
        return; // none of ours
    }
    snprintf(blob, sizeof blob, "%.64s", name + 7);
    if (pk_is_sha256(blob) && count_needs(g->p, blob, "", &needs) == 0 && needs == 0 &&
        check_unused(g->p, path, blob) == 0) {
        take(g, path, &g->out->blobs);
    }
}

// A half-written one; nobody writes, since the store is locked.
static void prune_name(struct pruning *g, const char *path, const char *name)
{
    if (strcmp(name, ".new") == 0) {
        take(g, path, &g->out->parts);
    }
}

// Files of a source that nobody installs now.
static void prune_part(struct pruning *g, const char *path, const char *name)
{
    char key[65];
    snprintf(key, sizeof key, "%.64s", name);
    if (!pk_is_sha256(key)) {
        return;
    }
    int lock = pk_lock_source(g->p, key, false);
    if (lock >= 0) {
        const char *end = name + 64;
        size_t small = 0;
        bool is_small = strcmp(end, ".note") == 0 || strcmp(end, ".new") == 0;
        if (strcmp(end, ".lock") != 0) { // that one goes as it is let go
            take(g, path, is_small ? &small : &g->out->parts);
        }
        pk_unlock_source(g->p, key, lock);
    }
}

static int prune_folder(struct pruning *g, const char *folder,
                        void (*prune)(struct pruning *g, const char *path, const char *name))
{
    char path[PATH_MAX];
    struct dirent **names;
    int rc = pk_path(g->p, path, "%s", folder);
    int n = rc ? 0 : scandir(path, &names, NULL, alphasort);
    if (rc || n < 0) {
        return rc || errno == ENOENT ? rc : pk_fail(g->p, -errno, "%s: %s", path, strerror(errno));
    }
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        if (pk_path(g->p, path, "%s/%s", folder, name) == 0 && strcmp(name, ".") != 0 &&
            strcmp(name, "..") != 0) {
            prune(g, path, name);
        }
        free(names[i]);
    }
    free(names);
    return 0;
}

int packages_prune(struct packages *p, bool remove, struct packages_leftovers *out)
{
    struct pruning g = {.p = p, .remove = remove, .out = out};
    *out = (struct packages_leftovers){0};
    int lock = pk_lock_store(p);
    if (lock < 0) {
        return lock;
    }
    int rc = prune_folder(&g, "blobs", prune_blob);
    rc = rc ? rc : prune_folder(&g, "names", prune_name);
    rc = rc ? rc : prune_folder(&g, "partial", prune_part);
    close(lock);
    return rc;
}
