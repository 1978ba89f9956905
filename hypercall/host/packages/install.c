// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// An installation: the source's bytes come into partial/, are verified, converted if asked for,
// filled up to whole pages, and appear as a blob; then a name says so. Whatever ends it before, the
// store is as it was.
#include "hypercall/host/base/files.h"
#include "hypercall/host/packages/install.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// ---- names -------------------------------------------------------------------------------------

static int choose_name(struct install *in)
{
    struct packages_entry *e = in->entry;
    const struct packages_request *q = in->request;
    char suffix[48] = "";
    if (q->name) {
        if (!packages_name_is_valid(q->name)) {
            return packages_find(in->p, q->name, e); // which says so
        }
        strcpy(e->name, q->name);
        return 0;
    }
    if (q->type) {
        int n = snprintf(suffix, sizeof suffix, "-%.31s", q->type);
        for (int i = 0; i < n; i++) {
            suffix[i] = (char)tolower((unsigned char)suffix[i]);
        }
    }
    if (q->pack) {
        strcat(suffix, "-packed");
    }
    snprintf(e->name, sizeof e->name, "%.*s%s", (int)(sizeof e->name - 1 - strlen(suffix)),
             in->origin.name, suffix);
    return packages_name_is_valid(e->name)
               ? 0
               : pk_fail(in->p, -EINVAL, "'%s' gives no name for the model: --name does", e->name);
}

// Is the name another model's? Known before the bytes come only where their hash is.
static int check_name(struct install *in)
{
    struct packages_entry old;
    int rc = packages_find(in->p, in->entry->name, &old);
    const char *hash = in->entry->source_sha256[0] ? in->entry->source_sha256 : in->origin.sha256;
    const struct packages_request *q = in->request;
    bool same = rc == 0 && strcmp(old.source_sha256, hash) == 0 &&
                strcasecmp(old.converted, q->type ? q->type : "") == 0 && old.packed == q->pack;
    if (rc == -ENOENT || rc == -EBADMSG || same || (!hash[0] && !rc) || q->replace) {
        // Without a hash: it may be the same, which the end shows.
        return rc && rc != -ENOENT && rc != -EBADMSG ? rc : 0;
    }
    return rc ? rc
              : pk_fail(in->p, -EEXIST,
                        "a model '%s' is installed already, from %s: `tessera pkg remove %s` "
                        "removes it, --replace puts this one in its place, --name gives another "
                        "name",
                        old.name, old.source, old.name);
}

// ---- the blob ----------------------------------------------------------------------------------

static bool blob_is_good(struct install *in, const char *blob)
{
    char path[PATH_MAX], error[300], hex[65];
    uint8_t hash[32];
    struct stat s;
    if (packages_blob_path(in->p, blob, path) != 0 || stat(path, &s) != 0 ||
        s.st_size % WEIGHTS_MULTIPLE != 0 ||
        weights_content_sha256(path, false, &in->p->progress, hash, error, sizeof error) != 0) {
        return false;
    }
    hex_write(hash, sizeof hash, hex);
    return strcmp(hex, blob) == 0;
}

// Another name has the same source, converted the same way.
static bool find_installed(struct install *in, const char *source_sha256)
{
    struct packages_entry *list;
    const struct packages_request *q = in->request;
    size_t count;
    bool found = false;
    if (packages_list(in->p, &list, &count) != 0) {
        return false;
    }
    for (size_t i = 0; i < count && !found; i++) {
        found = strcmp(list[i].source_sha256, source_sha256) == 0 && list[i].packed == q->pack &&
                strcasecmp(list[i].converted, q->type ? q->type : "") == 0 &&
                blob_is_good(in, list[i].blob);
        if (found) {
            char name[PACKAGES_NAME];
            strcpy(name, in->entry->name);
            *in->entry = list[i];
            strcpy(in->entry->name, name);
        }
    }
    free(list);
    return found;
}

// The file that is to be the blob, filled up and on the disk.
static int finish_file(struct install *in, const char *path, uint64_t content)
{
    (void)chmod(path, 0600);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), rc = fd < 0 ? -errno : 0;
    // Cut and filled up again: what stood after the content becomes zeros.
    if (!rc &&
        (ftruncate(fd, (off_t)content) != 0 || ftruncate(fd, (off_t)pk_padded(content)) != 0 ||
         fchmod(fd, 0444) != 0 || fsync(fd) != 0)) {
        rc = -errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    return rc ? pk_fail(in->p, rc, "%s: cannot be written: %s", path, strerror(-rc)) : 0;
}

static int describe_blob(struct install *in, const char *path, const struct obtained *as_it_came)
{
    struct model_facts facts;
    struct packages_entry *e = in->entry;
    uint8_t hash[32];
    int rc = model_facts_read(in->p, path, &facts);
    if (rc) {
        // The file's own name there means nothing to people.
        char *colon = strstr(in->p->error, ": ");
        char what[400];
        snprintf(what, sizeof what, "%.399s", colon ? colon + 2 : in->p->error);
        return pk_fail(in->p, rc, "%s: %s%s: nothing was installed", in->origin.place, what,
                       strstr(what, "one of ") ? " (`tessera pkg install` with --pack or --type "
                                                 "takes a local model of several files)"
                                               : "");
    }
    e->bytes = facts.content;
    if (in->request->type) {
        snprintf(e->type, sizeof e->type, "%s", in->request->type);
        for (char *c = e->type; *c; c++) {
            *c = (char)toupper((unsigned char)*c);
        }
        strcpy(e->converted, e->type);
    } else {
        strcpy(e->type, facts.type);
    }
    e->packed = in->request->pack;
    if (as_it_came && facts.content == as_it_came->bytes) {
        strcpy(e->blob, as_it_came->sha256);
    } else {
        char why[400];
        rc = weights_content_sha256(path, true, &in->p->progress, hash, why, sizeof why);
        if (rc) {
            return pk_fail(in->p, rc, "%s", why);
        }
        hex_write(hash, sizeof hash, e->blob);
    }
    if (as_it_came && facts.content != as_it_came->bytes) {
        unlink(in->partial.note); // once it is cut, it is no part of the source any more
    }
    return finish_file(in, path, facts.content);
}

// ---- the end -----------------------------------------------------------------------------------

// `staged` NULL: the blob is there already. Under the store's lock, so that no removal comes
// between the blob and its name.
static int commit(struct install *in, const char *staged)
{
    struct packages *p = in->p;
    struct packages_entry *e = in->entry, old;
    char path[PATH_MAX], why[400];
    uint8_t hash[32];
    int rc = packages_blob_path(p, e->blob, path);
    // Where it must be read for that, it is read now: under the lock the answer is remembered.
    bool was_good = !rc && blob_is_good(in, e->blob), was_there = !rc && access(path, F_OK) == 0;
    int lock = rc ? rc : pk_lock_store(p);
    if (lock < 0) {
        return lock;
    }
    bool have = packages_find(p, e->name, &old) == 0;
    bool same = have && strcmp(old.blob, e->blob) == 0;
    if (have && !same && !in->request->replace) {
        rc = pk_fail(p, -EEXIST,
                     "a model '%s' is installed already, from %s: --replace puts this one in its "
                     "place, --name gives another name",
                     old.name, old.source);
        goto out;
    }
    if (!was_good && was_there) {
        pk_say(p, "%s had changed since it was installed: it is made again", path);
    }
    if (!blob_is_good(in, e->blob)) {
        // Over a broken one; who has that mapped keeps it.
        rc = !staged                     ? pk_fail(p, -ESTALE, "%s: has gone meanwhile", path)
             : rename(staged, path) != 0 ? pk_fail(p, -errno, "%s: %s", path, strerror(errno))
                                         : 0;
        if (rc) {
            goto out;
        }
        (void)file_sync_folder(path);
        (void)hex_read(e->blob, hash, sizeof hash); // it was written here
        weights_remember(path, hash);
    }
    // A packed file has its source's identity.
    rc = weights_identity(path, &p->progress, &e->identity, why, sizeof why);
    rc = rc ? pk_fail(p, rc, "%s", why) : 0;
    in->existed = same && strcmp(old.source_sha256, e->source_sha256) == 0;
    if (!rc && in->existed) {
        *e = old;
    } else if (!rc) {
        time_t now = time(NULL);
        struct tm utc;
        gmtime_r(&now, &utc);
        strftime(e->installed, sizeof e->installed, "%Y-%m-%dT%H:%M:%SZ", &utc);
        rc = pk_entry_write(p, e);
    }
    if (!rc && have && !same) {
        pk_drop_blob(p, old.blob); // if nobody needs it; otherwise `prune` will
    }
out:
    close(lock);
    return rc;
}

// ---- the way there -----------------------------------------------------------------------------

static int check_hash(struct install *in, const char *found)
{
    const struct origin *o = &in->origin;
    if (!o->has_hash || strcmp(o->sha256, found) == 0) {
        return 0;
    }
    return pk_fail(in->p, -EBADMSG, "%s: its SHA-256 is\n  %s, but %s\n  %s: nothing was installed",
                   o->place, found, o->from_index ? "the index promises" : "wanted was", o->sha256);
}

static int obtain(struct install *in, struct obtained *got)
{
    struct packages *p = in->p;
    int rc = 0;
    for (int attempt = 0; attempt < 2; attempt++) {
        rc = in->origin.is_url ? pk_download(p, &in->origin, &in->partial, got)
                               : pk_copy(p, &in->origin, &in->partial, got);
        if (rc) {
            return rc;
        }
        rc = check_hash(in, got->sha256);
        if (!rc) {
            return 0;
        }
        // Such bytes are of no use to a later run.
        unlink(in->partial.part);
        unlink(in->partial.note);
        pk_partial_forget(&in->partial);
        if (!got->resumed) {
            return rc;
        }
        pk_say(p, "What an earlier run had left does not fit; once more from the beginning");
    }
    return rc;
}

static int convert(struct install *in, const char *from)
{
    const struct packages_request *q = in->request;
    if (!q->convert) {
        return pk_fail(in->p, -EINVAL, "no way to convert a model");
    }
    const char *what = q->type ? q->type : "packed";
    pk_say(in->p, "Converting %s: %s", in->entry->name, what);
    int rc = q->convert(q->convert_context, from, in->partial.made, q->type, q->pack);
    return rc ? pk_fail(in->p, rc, "%s: could not be converted (%s): nothing was installed",
                        in->origin.place, what)
              : 0;
}

// A local model that is converted is read where it is.
static int install_local_converted(struct install *in)
{
    struct packages_entry *e = in->entry;
    int rc = in->is_folder ? 0
                           : pk_hash_file(in->p, in->origin.place, "computing the model's SHA-256",
                                          e->source_sha256, &e->source_bytes);
    if (in->is_folder) {
        rc = pk_hash_folder(in->p, in->origin.place, e->source_sha256, &e->source_bytes);
    }
    rc = rc ? rc : check_hash(in, e->source_sha256);
    if (!rc && find_installed(in, e->source_sha256)) {
        return commit(in, NULL);
    }
    rc = rc ? rc : convert(in, in->origin.place);
    rc = rc ? rc : describe_blob(in, in->partial.made, NULL);
    return rc ? rc : commit(in, in->partial.made);
}

// A file as long as one that is installed may be that one: reading is cheaper than copying. 1: it
// is.
static int check_known_file(struct install *in, struct obtained *got)
{
    struct packages_entry *list;
    struct stat s;
    size_t count;
    bool likely = false;
    int rc = packages_list(in->p, &list, &count);
    for (size_t i = 0; i < count && !rc && stat(in->origin.place, &s) == 0; i++) {
        likely = likely || list[i].source_bytes == (uint64_t)s.st_size;
    }
    free(rc ? NULL : list);
    if (rc || !likely) {
        return rc;
    }
    rc = pk_hash_file(in->p, in->origin.place, "computing the model's SHA-256", got->sha256,
                      &got->bytes);
    rc = rc ? rc : check_hash(in, got->sha256);
    return rc ? rc : find_installed(in, got->sha256);
}

static int install_bytes(struct install *in)
{
    struct obtained got;
    struct packages_entry *e = in->entry;
    bool converts = in->request->type || in->request->pack;
    // What is there by a known hash need not come again; a file that was named is looked at.
    if (in->origin.has_hash && (in->origin.is_url || in->origin.from_index) &&
        find_installed(in, in->origin.sha256)) {
        return commit(in, NULL);
    }
    int rc = in->origin.is_url ? 0 : check_known_file(in, &got);
    if (rc) {
        return rc < 0 ? rc : commit(in, NULL);
    }
    rc = obtain(in, &got);
    if (rc) {
        return rc;
    }
    if (converts && find_installed(in, got.sha256)) {
        return commit(in, NULL);
    }
    strcpy(e->source_sha256, got.sha256);
    e->source_bytes = got.bytes;
    if (converts) {
        rc = convert(in, in->partial.part);
    }
    const char *staged = converts ? in->partial.made : in->partial.part;
    rc = rc ? rc : describe_blob(in, staged, converts ? NULL : &got);
    return rc ? rc : commit(in, staged);
}

int packages_install(struct packages *p, const struct packages_request *q,
                     struct packages_entry *out, bool *existed)
{
    struct install in = {.p = p, .request = q, .entry = out, .partial.lock = -1};
    *out = (struct packages_entry){0};
    int rc = pk_find_source(&in);
    rc = rc ? rc : choose_name(&in);
    rc = rc ? rc : check_name(&in);
    if (rc) {
        return rc;
    }
    // Without a query, which may carry a key.
    char plain[PACKAGES_PLACE];
    strcpy(plain, in.origin.place);
    if (in.origin.is_url) {
        plain[strcspn(plain, "?#")] = 0;
    }
    pk_plain(out->source, sizeof out->source, plain);
    rc = pk_partial_open(p, in.origin.place, &in.partial);
    if (rc) {
        return rc;
    }
    bool local = !in.origin.is_url && (q->type || q->pack);
    rc = local ? install_local_converted(&in) : install_bytes(&in);
    // What cannot become a model is of no use to a later run.
    bool useless = rc == -EINVAL || rc == -EBADMSG || rc == -ENOTSUP;
    pk_partial_close(p, &in.partial, rc == 0 || useless);
    *existed = in.existed;
    return rc;
}
