// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera doctor`: what killed commands leave behind. Each check names it; under --mend those do
// away with it for which nothing can be lost.
#include "hypercall/host/guest/guest.h"
#include "hypercall/host/machine/console.h"
#include "hypercall/host/machine/record.h"
#include "hypercall/host/machine/tensord.h"
#include "hypercall/host/packages/packages.h"
#include "hypercall/host/store/weights.h"
#include "hypercall/host/tool/doctor.h"
#include "hypercall/host/tool/pkg.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

static int remove_file(void *path)
{
    return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
}

void doctor_leftover_file(struct doctor *d, const char *path, const char *what)
{
    char command[PATH_MAX + 32], copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    snprintf(command, sizeof command, "rm %s", doctor_quote(path));
    doctor_leftover(d, remove_file, copy, command, "%s: %s", path, what);
}

// ---- half-copied files -------------------------------------------------------------------------

// A copy in the making is under its lock (store/mappable.c): one without was left.
static bool is_being_made(const char *part)
{
    char lock[PATH_MAX];
    snprintf(lock, sizeof lock, "%.*s.lock", (int)(strlen(part) - strlen(".part")), part);
    int fd = open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    bool held = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0;
    if (fd >= 0) {
        close(fd);
    }
    return held;
}

static bool is_older_than(const char *path, time_t seconds)
{
    struct stat s;
    return stat(path, &s) == 0 && time(NULL) - s.st_mtime > seconds;
}

static void look_at_folder(struct doctor *d, const char *folder, bool (*is_left)(const char *))
{
    char path[PATH_MAX];
    DIR *all = opendir(folder);
    for (const struct dirent *e; all && (e = readdir(all)) != NULL;) {
        int n = snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (n > 0 && n < (int)sizeof path && is_left(path)) {
            doctor_leftover_file(d, path, "a file that was never finished");
        }
    }
    if (all) {
        closedir(all);
    }
}

static void look_at_copies(struct doctor *d, const char *folder_name, bool (*is_left)(const char *))
{
    char folder[PATH_MAX], error[300];
    if (weights_cache_folder(folder_name, folder, sizeof folder, error, sizeof error) == 0) {
        look_at_folder(d, folder, is_left);
    }
}

static bool is_left_copy(const char *path)
{
    return ends_with(path, ".part") && !is_being_made(path);
}

// NAME.XXXXXX of mkostemp (store/cache.c); it takes milliseconds to write.
static bool is_left_hash(const char *path)
{
    const char *name = strrchr(path, '/'), *dot = name ? strrchr(name, '.') : NULL;
    return dot && strlen(dot) == 7 && dot > name + 1 && is_older_than(path, 60);
}

static int prune_copies(void *unused)
{
    struct weights_unneeded left;
    char error[PATH_MAX + 200];
    return weights_copies_prune(true, pkg_copy_in_use, unused, &left, error, sizeof error);
}

static void check_copies(struct doctor *d)
{
    look_at_copies(d, "models", is_left_copy);
    look_at_copies(d, "hashes", is_left_hash);
    look_at_copies(d, "files", is_left_copy);
    struct weights_unneeded left;
    char error[PATH_MAX + 200];
    if (weights_copies_prune(false, pkg_copy_in_use, NULL, &left, error, sizeof error) == 0 &&
        left.count) {
        doctor_leftover(d, prune_copies, NULL, "tessera pkg prune",
                        "%zu cop%s for guests whose source is gone or changed, %llu MB, which no "
                        "guest needs",
                        left.count, left.count == 1 ? "y" : "ies",
                        (unsigned long long)(left.bytes >> 20));
    }
}

// ---- saved states ------------------------------------------------------------------------------

// A record takes milliseconds to write, a state seconds.
static bool is_left_state(const char *path)
{
    return (ends_with(path, ".part") && is_older_than(path, 60)) ||
           (ends_with(path, ".ready.new") && is_older_than(path, 600));
}

static void check_states(struct doctor *d)
{
    char path[PATH_MAX], error[300];
    if (record_path("any", RECORD_READY, false, path, sizeof path, error, sizeof error) == 0) {
        *strrchr(path, '/') = 0;
        look_at_folder(d, path, is_left_state);
    }
}

// ---- tensord's places for guests ---------------------------------------------------------------

struct seat {
    const char *folder;
    char name[64], path[108];
};

// Does any line of /proc/net/unix speak of the path, and is one of them a connection (state 03)?
static void find_socket(const char *path, bool *exists, bool *connected)
{
    char line[400];
    FILE *f = fopen("/proc/net/unix", "re");
    *exists = *connected = f == NULL; // not known: nothing is said of it
    while (f && fgets(line, sizeof line, f)) {
        unsigned state = 0;
        line[strcspn(line, "\n")] = 0;
        const char *at = strchr(line, '/');
        if (at && strcmp(at, path) == 0 && sscanf(line, "%*s %*s %*s %*s %*s %x", &state) == 1) {
            *exists = true;
            *connected |= state == 3;
        }
    }
    if (f) {
        fclose(f);
    }
}

static int remove_seat(void *context)
{
    const struct seat *s = context;
    struct tensord *t;
    char error[300];
    int rc = tensord_open(s->folder, &t, error, sizeof error);
    if (rc) {
        return rc;
    }
    rc = tensord_remove_guest(t, s->name, error, sizeof error);
    tensord_close(t);
    return rc;
}

static bool has_domain(struct doctor *d, const char *name)
{
    virConnectPtr all[] = {d->libvirt, d->system};
    for (size_t i = 0; i < 2; i++) {
        virDomainPtr domain = all[i] ? virDomainLookupByName(all[i], name) : NULL;
        if (domain) {
            virDomainFree(domain);
            return true;
        }
    }
    return false;
}

static void look_at_seat(struct doctor *d, struct seat *s)
{
    bool exists, connected;
    char command[400];
    find_socket(s->path, &exists, &connected);
    if (connected || has_domain(d, s->name)) {
        return;
    }
    if (!exists) {
        doctor_leftover_file(d, s->path, "the socket of a tensord that is gone");
        return;
    }
    snprintf(
        command, sizeof command,
        "echo '{\"op\":\"remove-guest\",\"name\":\"%s\"}' | socat - UNIX-CONNECT:%s/tensord.sock",
        s->name, s->folder);
    doctor_leftover(d, remove_seat, s, command,
                    "tensord keeps a place and its memory for '%s', which is no guest", s->name);
}

static void check_seats(struct doctor *d)
{
    char folder[256], error[300];
    if (!d->libvirt || d->is_remote ||
        tensord_folder(folder, sizeof folder, error, sizeof error) != 0) {
        return;
    }
    // A run that is just starting its guest holds the lock, or its name's claim.
    int lock = guest_lock(error, sizeof error);
    int claims = lock < 0 ? -1 : guest_claims_open(error, sizeof error);
    DIR *all = opendir(folder);
    for (const struct dirent *e; all && (e = readdir(all)) != NULL;) {
        struct seat s = {.folder = folder};
        size_t length = strlen(e->d_name);
        int n = snprintf(s.path, sizeof s.path, "%s/%s", folder, e->d_name);
        if (!ends_with(e->d_name, ".ivshmem") || n >= (int)sizeof s.path ||
            length - 8 >= sizeof s.name) {
            continue;
        }
        memcpy(s.name, e->d_name, length - 8);
        if (claims >= 0 && machine_name_is_valid(s.name) && guest_claim_name(claims, s.name)) {
            look_at_seat(d, &s);
        }
    }
    if (all) {
        closedir(all);
    }
    if (claims >= 0) {
        close(claims);
    }
    if (lock >= 0) {
        close(lock);
    }
}

// ---- domains whose files are gone --------------------------------------------------------------

static bool kernel_of(const char *xml, char out[PATH_MAX])
{
    const char *at = strstr(xml, "<kernel>");
    size_t n = at ? strcspn(at + 8, "<") : PATH_MAX;
    if (n >= PATH_MAX || memchr(at + 8, '&', n)) {
        return false;
    }
    memcpy(out, at + 8, n);
    out[n] = 0;
    return true;
}

static void look_at_domain(struct doctor *d, virDomainPtr domain)
{
    struct machine_facts facts;
    char kernel[PATH_MAX];
    const char *name = virDomainGetName(domain), *gone = NULL;
    char *own = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, MACHINE_NAMESPACE, 0);
    char *xml = own ? virDomainGetXMLDesc(domain, 0) : NULL;
    if (xml && machine_facts_parse(own, &facts) == 0) {
        // A guest with a copy does without the model that it is of.
        const char *file = facts.mapped[0] ? facts.mapped : facts.model;
        if (kernel_of(xml, kernel) && access(kernel, F_OK) != 0 && errno == ENOENT) {
            gone = kernel;
        } else if (file[0] && access(file, F_OK) != 0 && errno == ENOENT) {
            gone = file;
        }
    }
    if (gone) {
        bool active = virDomainIsActive(domain) == 1;
        doctor_leftover(d, NULL, NULL, NULL, "the guest '%s' %s, and %s is not there any more",
                        name, active ? "runs" : "is defined", gone);
        doctor_cost(d, "it does not start again");
        // Not as the command that mends: the file may be on a disk that is not mounted now.
        doctor_advise(d, "put the file back, or `tessera rm %s%s`", active ? "--force " : "", name);
    }
    free(own);
    free(xml);
}

static void check_domains(struct doctor *d)
{
    virDomainPtr *all = NULL;
    int count = d->libvirt && !d->is_remote ? virConnectListAllDomains(d->libvirt, &all, 0) : 0;
    for (int i = 0; i < count; i++) {
        look_at_domain(d, all[i]);
        virDomainFree(all[i]);
    }
    free(all);
}

// ---- the model store ---------------------------------------------------------------------------

static int prune_store(void *unused)
{
    struct packages p = {0};
    struct packages_leftovers left;
    (void)unused;
    int rc = packages_open(&p, false);
    return rc ? rc : packages_prune(&p, true, &left);
}

static void check_store(struct doctor *d)
{
    struct packages p = {0};
    struct packages_leftovers left;
    if (packages_open(&p, false) != 0 || packages_prune(&p, false, &left) != 0) {
        return; // there is none
    }
    if (left.blobs + left.parts) {
        doctor_leftover(d, prune_store, NULL, "tessera pkg prune",
                        "%s: %zu files that no name needs and %zu interrupted installs, %llu MB",
                        p.root, left.blobs, left.parts, (unsigned long long)(left.bytes >> 20));
    }
}

// Add checks here: doctor.h says how.
const struct doctor_check doctor_leftovers[] = {
    {"copies", check_copies},
    {"states", check_states},
    {"tensord", check_seats},
    {"guests", check_domains},
    {"store", check_store},
    {"keys", doctor_keys},
    {NULL, NULL},
};
