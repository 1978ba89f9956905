// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Who QEMU runs as, and that he may read what the guest needs. In a user's own session, and for an
// ordinary user of a system's libvirt, that is the caller. Guests that root makes on a system's
// libvirt run as libvirt's own user, never as root: what he may not read is copied to where he may.
#include "hypercall/host/guest/private.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Debian's and Fedora's name for him, where libvirt is not there to be asked.
static int find_by_name(struct hardware_user *out)
{
    int rc = hardware_user("libvirt-qemu", out);
    return rc ? hardware_user("qemu", out) : rc;
}

// QEMU's group may be kvm (Ubuntu's libvirt, or qemu.conf), in which users are, too, for /dev/kvm:
// what is opened to QEMU alone is opened to the group of its user's own name, where there is one
// that he is in (libvirt starts QEMU with all of its user's groups).
static uint32_t own_group(const struct hardware_user *u, uint32_t otherwise)
{
    const struct group *own = getgrnam(u->name);
    for (unsigned i = 0; own && i < u->group_count; i++) {
        if (u->groups[i] == own->gr_gid) {
            return own->gr_gid;
        }
    }
    return otherwise;
}

// A QEMU that runs as an ordinary user has to pass through libvirt's folder to its own.
static int check_passage(char *error, size_t error_bytes)
{
    struct hardware_user me;
    char number[16], refuses[PATH_MAX];
    snprintf(number, sizeof number, "%u", getuid());
    if (hardware_user(number, &me) != 0 ||
        hardware_may_read(&me, HARDWARE_LIBVIRT_FOLDER, refuses) != -EACCES) {
        return 0;
    }
    return guest_refuse(error, error_bytes, -EACCES,
                        "under a system's libvirt QEMU would run as %s, and %s does not let %s "
                        "pass. Mend, once: sudo " HARDWARE_LIBVIRT_MEND
                        ". Or run this as root (QEMU then runs as libvirt's own user), or "
                        "--connect qemu:///session",
                        me.name, refuses, me.name);
}

int guest_find_reader(const struct guest_host *h, struct guest *g, char *error, size_t error_bytes)
{
    g->plan.runs_as_user = h->is_system && !h->is_remote;
    g->plan.user_id = getuid();
    g->plan.group_id = getgid();
    g->qemu_is_other = false;
    if (!g->plan.runs_as_user) {
        return 0;
    }
    if (geteuid() != 0) {
        return h->libvirt ? check_passage(error, error_bytes) : 0;
    }
    char why[300] = "libvirt's user of QEMU is not known";
    uint32_t group = 0;
    int rc = h->libvirt ? machine_qemu_user(h->libvirt, &g->qemu, &group, why, sizeof why)
                        : find_by_name(&g->qemu);
    if (rc && !h->libvirt) {
        return 0; // XML that is only shown
    }
    if (rc) {
        return guest_refuse(error, error_bytes, rc, "%s", why);
    }
    g->qemu_is_other = g->qemu.uid != 0;
    g->plan.user_id = g->qemu.uid;
    g->plan.group_id = h->libvirt ? group : g->qemu.groups[0];
    g->reader_group = own_group(&g->qemu, g->plan.group_id);
    return 0;
}

int guest_check_reader(const struct guest *g, const char *what, const char *path, char *error,
                       size_t error_bytes)
{
    char refuses[PATH_MAX];
    struct stat s;
    int rc = g->qemu_is_other ? hardware_may_read(&g->qemu, path, refuses) : 0;
    if (rc != -EACCES) {
        return rc ? guest_refuse(error, error_bytes, rc, "%s %s: %s", what, path, strerror(-rc))
                  : 0;
    }
    bool folder = stat(refuses, &s) == 0 && S_ISDIR(s.st_mode);
    return guest_refuse(error, error_bytes, rc,
                        "QEMU runs as %s under a system's libvirt, and may not read %s %s: %s%s "
                        "refuses. Mend: setfacl -m u:%s:%s %s",
                        g->qemu.name, what, path, folder ? "the folder " : "",
                        folder ? refuses : "the file itself", g->qemu.name, folder ? "x" : "r",
                        refuses);
}

bool guest_reader_can(const struct guest *g, const char *path)
{
    char refuses[PATH_MAX];
    return !g->qemu_is_other || hardware_may_read(&g->qemu, path, refuses) == 0;
}

int guest_map_weights(struct guest_host *h, const char *model, struct guest *g, char *error,
                      size_t error_bytes)
{
    bool can = guest_reader_can(g, model);
    struct weights_reader reader = {.group = g->reader_group, .cannot = !can};
    int rc = weights_mappable_for(model, g->plan.kind == MACHINE_MICROVM,
                                  g->qemu_is_other ? &reader : NULL, &h->progress, &g->mapped,
                                  &g->plan.mapped_bytes, error, error_bytes);
    return rc ? rc : guest_check_reader(g, "the weights", g->mapped, error, error_bytes);
}

int guest_make_readable(struct guest_host *h, struct guest *g, const char *what, char **path,
                        bool always, char *error, size_t error_bytes)
{
    struct weights_reader reader = {.group = g->reader_group};
    char *copy;
    if (!always && guest_reader_can(g, *path)) {
        return 0;
    }
    int rc = weights_copy_for(*path, &reader, &copy, error, error_bytes);
    if (rc) {
        return rc;
    }
    guest_say(h, "%s %s: copied to where guests of a system's libvirt may read it: %s", what, *path,
              copy);
    free(*path);
    *path = copy;
    return guest_check_reader(g, "the image", copy, error, error_bytes);
}

// Where AppArmor confines guests, libvirt's helper (virt-aa-helper.c: valid_path) refuses a guest
// whose image is one of the system's own files.
static bool helper_refuses(const char *path)
{
    static const char *const prefixes[] = {"/usr/share/",
                                           "/usr/lib",
                                           "/usr/bin/",
                                           "/usr/sbin/",
                                           "/usr/local/bin/",
                                           "/usr/local/lib",
                                           "/usr/local/sbin/",
                                           "/usr/local/etc/",
                                           "/etc/",
                                           "/bin/",
                                           "/lib",
                                           "/sbin/"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (strncmp(path, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void boot_from(struct guest *g, char *path)
{
    free(g->image_path);
    g->image_path = path;
    if (g->plan.image) {
        g->plan.image = path;
    } else {
        g->plan.disk = path;
    }
}

// VFIO's device nodes are root's until libvirt gives them to QEMU's user, with the image and what
// else it labels.
int guest_place_image(struct guest_host *h, struct guest *g, char *error, size_t error_bytes)
{
    const char *before = g->plan.image ? g->plan.image : g->plan.disk;
    bool elsewhere = g->plan.is_system && before && helper_refuses(before);
    char *path = h->libvirt && before ? strdup(before) : NULL;
    if (g->qemu_is_other && g->plan.device_count) {
        g->plan.runs_as_user = false;
        g->plan.keeps_owners = true;
    }
    int rc = path ? guest_make_readable(h, g, "Image", &path, elsewhere, error, error_bytes) : 0;
    if (rc || !path || strcmp(path, before) == 0) {
        free(path);
        return rc;
    }
    boot_from(g, path);
    return 0;
}

int guest_own_image(struct guest *g, char *error, size_t error_bytes)
{
    struct weights_reader reader = {.group = g->reader_group, .name = g->name};
    char *copy;
    if (!g->plan.keeps_owners || !g->qemu_is_other || !g->plan.image) {
        return 0;
    }
    int rc = weights_copy_for(g->plan.image, &reader, &copy, error, error_bytes);
    if (!rc) {
        boot_from(g, copy);
    }
    return rc;
}

int guest_give(const struct guest *g, const char *path, char *error, size_t error_bytes)
{
    // Also where libvirt labels files: of those that only QEMU's command line names it knows
    // nothing.
    if (!g->qemu_is_other) {
        return 0;
    }
    return lchown(path, g->plan.user_id, g->plan.group_id) == 0
               ? guest_check_reader(g, "its file", path, error, error_bytes)
               : guest_refuse(error, error_bytes, -errno, "%s cannot be given to %s: %s", path,
                              g->qemu.name, strerror(errno));
}

int guest_open_folder(const struct guest *g, const char *folder, char *error, size_t error_bytes)
{
    if (!g->qemu_is_other) {
        return 0;
    }
    if (lchown(folder, (uid_t)-1, g->reader_group) != 0 || chmod(folder, 0710) != 0) {
        return guest_refuse(error, error_bytes, -errno, "%s cannot be opened to %s: %s", folder,
                            g->qemu.name, strerror(errno));
    }
    return guest_check_reader(g, "tensord's folder", folder, error, error_bytes);
}

int guest_open_socket(const struct guest *g, const char *path, char *error, size_t error_bytes)
{
    if (!g->qemu_is_other) {
        return 0;
    }
    // Not his: the owner may do more. In a folder that only this user writes to.
    if (lchown(path, (uid_t)-1, g->reader_group) != 0 || chmod(path, 0660) != 0) {
        return guest_refuse(error, error_bytes, -errno, "%s cannot be opened to %s: %s", path,
                            g->qemu.name, strerror(errno));
    }
    return 0;
}
