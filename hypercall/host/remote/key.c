// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Keys of guests' APIs on the other machine: small volumes that only QEMU's user there may read. A
// key crosses libvirt's connection and stands on no command line.
#include "hypercall/host/base/error.h"
#include "hypercall/host/machine/host.h"
#include "hypercall/host/remote/private.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void key_name(const char *guest, char out[80])
{
    snprintf(out, 80, "%.60s.api.key", guest);
}

void remote_key_path(const struct remote *r, const char *guest, char *out, size_t out_bytes)
{
    char name[80];
    key_name(guest, name);
    snprintf(out, out_bytes, "%s/%s", r->folder, name);
}

// Whom QEMU runs as there: a system's libvirt says so in its capabilities ("+64055:+108"); where it
// doesn't, QEMU runs as the user that also owns new volumes.
static void find_owner(virConnectPtr c, unsigned *user, unsigned *group, bool *known)
{
    char *xml = virConnectGetCapabilities(c);
    const char *model = xml ? strstr(xml, "<model>dac</model>") : NULL;
    const char *end = model ? strstr(model, "</secmodel>") : NULL;
    const char *label = model ? strstr(model, "<baselabel") : NULL;
    const char *text = label && end && label < end ? strchr(label, '>') : NULL;
    *known = text && sscanf(text, ">+%u:+%u<", user, group) == 2;
    free(xml);
}

int remote_key_write(struct remote *r, const char *guest, const char *text, char *error,
                     size_t error_bytes)
{
    char name[80], xml[600], owner[80] = "";
    unsigned user, group;
    bool known;
    virConnectPtr c = virStoragePoolGetConnect(r->pool);
    key_name(guest, name);
    find_owner(c, &user, &group, &known);
    if (known) {
        snprintf(owner, sizeof owner, "<owner>%u</owner><group>%u</group>", user, group);
    }
    // Names of guests need no escapes.
    snprintf(xml, sizeof xml,
             "<volume>\n  <name>%s</name>\n  <capacity unit='bytes'>%zu</capacity>\n"
             "  <target>\n    <format type='raw'/>\n"
             "    <permissions><mode>0600</mode>%s</permissions>\n  </target>\n</volume>\n",
             name, strlen(text), owner);
    virStorageVolPtr v = virStorageVolCreateXML(r->pool, xml, 0);
    const virError *e = v ? NULL : virGetLastError();
    if (e && e->code == VIR_ERR_STORAGE_VOL_EXIST) {
        virDomainPtr d = virDomainLookupByName(c, guest);
        if (d) { // since a moment, by another machine
            virDomainFree(d);
            return error_say(error, error_bytes, -EEXIST,
                             "the other machine has a guest '%s' already", guest);
        }
        remote_key_remove(r, guest); // of a guest that is gone
        v = virStorageVolCreateXML(r->pool, xml, 0);
    }
    int rc = v ? volume_write(c, v, 0, (const uint8_t *)text, strlen(text)) : -EIO;
    if (rc) {
        rc = machine_say_libvirt("writing the key's file on the other machine", error, error_bytes);
    }
    if (v) {
        if (rc) {
            virStorageVolDelete(v, 0);
        }
        virStorageVolFree(v);
    }
    return rc;
}

struct collected {
    char *out;
    size_t used, room;
};

static int collect(void *context, const char *bytes, size_t count)
{
    struct collected *c = context;
    if (count >= c->room - c->used) {
        return -EFBIG;
    }
    memcpy(c->out + c->used, bytes, count);
    c->used += count;
    return 0;
}

int remote_key_read(struct remote *r, const char *guest, char *out, size_t room)
{
    char name[80];
    struct collected c = {.out = out, .room = room};
    key_name(guest, name);
    virStorageVolPtr v = volume_find(r, name);
    int rc = v ? volume_read(virStoragePoolGetConnect(r->pool), v, 0, 0, collect, &c) : -ENOENT;
    out[rc ? 0 : c.used] = 0;
    if (v) {
        virStorageVolFree(v);
    }
    return rc;
}

void remote_key_remove(struct remote *r, const char *guest)
{
    char name[80];
    key_name(guest, name);
    virStorageVolPtr v = volume_find(r, name);
    if (v) {
        virStorageVolDelete(v, 0);
        virStorageVolFree(v);
    }
}
