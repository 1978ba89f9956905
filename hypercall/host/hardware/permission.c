// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Whether another user may read a file, by permission bits and POSIX ACLs. Source: acl(5); the
// attribute's form is the kernel's include/uapi/linux/posix_acl_xattr.h.
#include "hypercall/host/hardware/private.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { READ = 4, SEARCH = 1 };
enum {
    ACL_OWNER = 1,
    ACL_USER = 2,
    ACL_GROUP_OWNER = 4,
    ACL_GROUP = 8,
    ACL_MASK = 16,
    ACL_OTHER = 32
};
struct acl_entry {
    uint16_t tag, permission;
    uint32_t id;
};
_Static_assert(sizeof(struct acl_entry) == 8, "posix_acl_xattr_entry");

int hardware_user(const char *name, struct hardware_user *out)
{
    int count = sizeof out->groups / sizeof *out->groups;
    char *end = NULL;
    const char *digits = name + (name[0] == '+');
    struct passwd entry, *p = NULL;
    char room[4096];
    getpwnam_r(name, &entry, room, sizeof room, &p);
    *out = (struct hardware_user){0};
    if (!p && digits[0] >= '0' && digits[0] <= '9') {
        unsigned long id = strtoul(digits, &end, 10);
        if (!*end && id <= UINT32_MAX) {
            getpwuid_r((uid_t)id, &entry, room, sizeof room, &p);
        }
        if (!*end && id <= UINT32_MAX && !p) { // a number is a user without a name, too
            snprintf(out->name, sizeof out->name, "%lu", id);
            out->uid = (uid_t)id;
            out->groups[0] = (gid_t)id;
            out->group_count = 1;
            return 0;
        }
    }
    if (!p) {
        return -ENOENT;
    }
    snprintf(out->name, sizeof out->name, "%s", p->pw_name);
    out->uid = p->pw_uid;
    out->groups[0] = p->pw_gid;
    out->group_count = 1;
    if (getgrouplist(p->pw_name, p->pw_gid, out->groups, &count) >= 0) {
        out->group_count = (unsigned)count;
    }
    return 0;
}

static bool in_group(const struct hardware_user *u, gid_t group)
{
    for (unsigned i = 0; i < u->group_count; i++) {
        if (u->groups[i] == group) {
            return true;
        }
    }
    return false;
}

// The check algorithm of acl(5): the first of owner, named user, groups, others that fits decides.
static bool acl_allows(const struct acl_entry *e, size_t n, const struct stat *s,
                       const struct hardware_user *u, unsigned wanted)
{
    unsigned mask = 7, other = 0;
    bool any_group = false, group_allows = false;
    for (size_t i = 0; i < n; i++) {
        mask = e[i].tag == ACL_MASK ? e[i].permission : mask;
        other = e[i].tag == ACL_OTHER ? e[i].permission : other;
    }
    for (size_t i = 0; i < n; i++) {
        if (e[i].tag == ACL_OWNER && s->st_uid == u->uid) {
            return (e[i].permission & wanted) == wanted;
        }
        if (e[i].tag == ACL_USER && e[i].id == u->uid) {
            return (e[i].permission & mask & wanted) == wanted;
        }
        bool fits = (e[i].tag == ACL_GROUP_OWNER && in_group(u, s->st_gid)) ||
                    (e[i].tag == ACL_GROUP && in_group(u, e[i].id));
        any_group |= fits;
        group_allows |= fits && (e[i].permission & mask & wanted) == wanted;
    }
    return any_group ? group_allows : (other & wanted) == wanted;
}

static bool allows(const char *path, const struct stat *s, const struct hardware_user *u,
                   unsigned wanted)
{
    struct {
        uint32_t version;
        struct acl_entry entries[128];
    } acl;
    if (u->uid == 0) {
        return true;
    }
    ssize_t n = getxattr(path, "system.posix_acl_access", &acl, sizeof acl);
    if (n >= (ssize_t)sizeof acl.version && acl.version == 2) {
        size_t entries = ((size_t)n - sizeof acl.version) / sizeof *acl.entries;
        return acl_allows(acl.entries, entries, s, u, wanted);
    }
    unsigned shift = s->st_uid == u->uid ? 6 : in_group(u, s->st_gid) ? 3 : 0;
    return ((s->st_mode >> shift) & wanted) == wanted;
}

// Symbolic links resolved, since each folder of the real path counts; where this user may not look
// behind a folder, the path as it is. NULL with errno.
static char *whole_path(const char *path)
{
    char *real = realpath(path, NULL), *here;
    if (real || errno != EACCES) {
        return real;
    }
    if (path[0] == '/') {
        return strdup(path);
    }
    here = getcwd(NULL, 0);
    if (here && asprintf(&real, "%s/%s", here, path) < 0) {
        real = NULL;
    }
    free(here);
    return real;
}

int hardware_may_read(const struct hardware_user *user, const char *path, char refuses[PATH_MAX])
{
    char *real = whole_path(path);
    struct stat s;
    refuses[0] = 0;
    if (!real) {
        return -errno;
    }
    int rc = 0;
    for (size_t i = 1, length = strlen(real); i <= length && rc == 0; i++) {
        char at = real[i];
        if (at != '/' && at != 0) {
            continue;
        }
        real[i] = 0;
        bool last = at == 0;
        if (stat(real, &s) != 0) {
            rc = -errno;
        } else if (!allows(real, &s, user, last && !S_ISDIR(s.st_mode) ? READ : SEARCH)) {
            rc = -EACCES;
        }
        if (rc) {
            snprintf(refuses, PATH_MAX, "%s", real);
        }
        real[i] = at;
    }
    free(real);
    return rc;
}
