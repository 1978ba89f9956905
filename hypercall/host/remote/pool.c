// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The pool on the other machine, and the logs in it.
#include "hypercall/host/machine/host.h"
#include "hypercall/host/machine/text.h"
#include "hypercall/host/remote/private.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOL "tessera"
enum { LOG_MOST = 1 << 20 };

// ---- where -------------------------------------------------------------------------------------

// libvirt does not tell a user's home there. It fills in where a guest's UEFI variables would be,
// which is in it: of a domain that is never started and is gone at once.
static int find_home(virConnectPtr c, char *out, size_t room, char *error, size_t error_bytes)
{
    static const char probe[] =
        "<domain type='qemu'>\n  <name>tessera.probe</name>\n  <memory unit='MiB'>16</memory>\n"
        "  <os>\n    <type arch='x86_64' machine='q35'>hvm</type>\n"
        "    <loader readonly='yes' type='pflash'>/nonexistent</loader>\n  </os>\n"
        "  <features><acpi/></features>\n</domain>\n";
    virDomainPtr d = virDomainDefineXML(c, probe);
    char *xml = d ? virDomainGetXMLDesc(d, VIR_DOMAIN_XML_INACTIVE) : NULL;
    const char *nvram = xml ? strstr(xml, "<nvram") : NULL;
    const char *path = nvram ? strchr(nvram, '>') : NULL;
    const char *end = path ? strstr(path, "/.config/libvirt/") : NULL;
    const char *other = path ? strstr(path, "/qemu/nvram/") : NULL;
    int rc = 0;
    if (end) {
        snprintf(out, room, "%.*s/.local/share/tessera/images", (int)(end - path - 1), path + 1);
    } else if (other) {
        snprintf(out, room, "%.*s/tessera-images", (int)(other - path - 1), path + 1);
    } else {
        rc = remote_fail(error, error_bytes, -ENOTSUP,
                         "libvirt does not tell where the user's home on the other machine is: "
                         "make a storage pool `tessera` there, `virsh -c '...' pool-define-as "
                         "tessera dir --target FOLDER --build`, and `pool-start tessera`");
    }
    free(xml);
    if (d) {
        virDomainUndefineFlags(d, VIR_DOMAIN_UNDEFINE_NVRAM | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM);
        virDomainUndefine(d);
        virDomainFree(d);
    }
    return rc;
}

static int make_pool(virConnectPtr c, bool is_system, virStoragePoolPtr *out, char *error,
                     size_t error_bytes)
{
    char folder[PATH_MAX - 256] = "/var/lib/tessera/images";
    int rc = is_system ? 0 : find_home(c, folder, sizeof folder, error, error_bytes);
    if (rc) {
        return rc;
    }
    struct text t = {0};
    text_add(&t, "<pool type='dir'>\n  <name>" POOL "</name>\n  <target>\n    <path>");
    text_add_escaped(&t, folder);
    text_add(&t, "</path>\n    <permissions><mode>0711</mode></permissions>\n  </target>\n"
                 "</pool>\n");
    virStoragePoolPtr p = t.failed ? NULL : virStoragePoolDefineXML(c, t.data, 0);
    free(t.data);
    if (!p) {
        return machine_say_libvirt("making the storage pool `tessera`", error, error_bytes);
    }
    if (virStoragePoolBuild(p, VIR_STORAGE_POOL_BUILD_NEW) != 0 ||
        virStoragePoolSetAutostart(p, 1) != 0) {
        rc = machine_say_libvirt("making the folder of the storage pool `tessera`", error,
                                 error_bytes);
        virStoragePoolUndefine(p);
        virStoragePoolFree(p);
        return rc;
    }
    *out = p;
    return 0;
}

static int read_folder(struct remote *r, char *error, size_t error_bytes)
{
    char *xml = virStoragePoolGetXMLDesc(r->pool, 0);
    const char *target = xml ? strstr(xml, "<target>") : NULL;
    const char *path = target ? strstr(target, "<path>") : NULL;
    size_t n = path ? strcspn(path + 6, "<") : 0;
    // Escaped characters would have to be undone; our own folders have none.
    bool good = n && n < sizeof r->folder && !memchr(path + 6, '&', n) && path[6] == '/';
    if (good) {
        snprintf(r->folder, sizeof r->folder, "%.*s", (int)n, path + 6);
    }
    free(xml);
    return good ? 0
                : remote_fail(error, error_bytes, -EINVAL,
                              "the storage pool `tessera` there is no folder with a simple path");
}

int remote_open(virConnectPtr c, bool is_system, struct remote *out, char *error,
                size_t error_bytes)
{
    *out = (struct remote){0};
    out->pool = virStoragePoolLookupByName(c, POOL);
    const virError *e = out->pool ? NULL : virGetLastError();
    int rc = 0;
    if (!out->pool && e && e->code == VIR_ERR_NO_STORAGE_POOL) {
        rc = make_pool(c, is_system, &out->pool, error, error_bytes);
    } else if (!out->pool) {
        rc = machine_say_libvirt("looking for the storage pool `tessera`", error, error_bytes);
    }
    if (!rc && virStoragePoolIsActive(out->pool) != 1 && virStoragePoolCreate(out->pool, 0) != 0 &&
        virStoragePoolIsActive(out->pool) != 1) {
        rc = machine_say_libvirt("starting the storage pool `tessera`", error, error_bytes);
    }
    // Files may have come and gone beside libvirt.
    if (!rc && virStoragePoolRefresh(out->pool, 0) != 0) {
        rc = machine_say_libvirt("looking into the storage pool `tessera`", error, error_bytes);
    }
    rc = rc ? rc : read_folder(out, error, error_bytes);
    if (rc) {
        remote_close(out);
    }
    return rc;
}

void remote_close(struct remote *r)
{
    if (r->pool) {
        virStoragePoolFree(r->pool);
    }
    r->pool = NULL;
}

// ---- logs --------------------------------------------------------------------------------------

static void log_name(const char *guest, char out[80])
{
    snprintf(out, 80, "%.60s.console.log", guest);
}

void remote_log_path(const struct remote *r, const char *guest, char *out, size_t out_bytes)
{
    char name[80];
    log_name(guest, name);
    snprintf(out, out_bytes, "%s/%s", r->folder, name);
}

static virStorageVolPtr find_log(struct remote *r, const char *guest)
{
    char name[80];
    log_name(guest, name);
    virStoragePoolRefresh(r->pool, 0); // libvirt does not see that QEMU's log was made
    return volume_find(r, name);
}

struct collected {
    char *bytes;
    size_t used, room;
};

static int collect(void *context, const char *bytes, size_t count)
{
    struct collected *c = context;
    size_t n = count < c->room - c->used ? count : c->room - c->used;
    memcpy(c->bytes + c->used, bytes, n);
    c->used += n;
    return 0;
}

int remote_log_read(struct remote *r, const char *guest, uint64_t *from, char **out, size_t *bytes,
                    char *error, size_t error_bytes)
{
    virStorageVolInfo info;
    virStorageVolPtr v = find_log(r, guest);
    *out = NULL;
    *bytes = 0;
    if (!v) {
        return remote_fail(error, error_bytes, -ENOENT, "there is no log of %s on its machine",
                           guest);
    }
    int rc = virStorageVolGetInfo(v, &info) == 0 ? 0 : -EIO;
    if (!rc && info.capacity < *from) {
        *from = 0; // begun anew
    }
    uint64_t left = rc ? 0 : info.capacity - *from;
    struct collected c = {.room = left < LOG_MOST ? (size_t)left : LOG_MOST};
    c.bytes = malloc(c.room + 1);
    if (!rc && c.bytes && c.room) {
        rc = volume_read(virStoragePoolGetConnect(r->pool), v, *from, c.room, collect, &c);
    }
    virStorageVolFree(v);
    if (rc || !c.bytes) {
        free(c.bytes);
        return rc ? machine_say_libvirt("reading the console's log", error, error_bytes)
                  : remote_fail(error, error_bytes, -ENOMEM, "no memory");
    }
    *out = c.bytes;
    *bytes = c.used;
    return 0;
}

int remote_log_remove(struct remote *r, const char *guest, char *error, size_t error_bytes)
{
    virStorageVolPtr v = find_log(r, guest);
    int rc = v && virStorageVolDelete(v, 0) != 0
                 ? machine_say_libvirt("removing the console's log", error, error_bytes)
                 : 0;
    if (v) {
        virStorageVolFree(v);
    }
    return rc;
}
