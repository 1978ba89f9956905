// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// libvirt's storage volumes: made, written, read.
#include "hypercall/host/remote/private.h"

#include <errno.h>
#include <inttypes.h>
#include <libvirt/virterror.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 << 10 };

int remote_fail(char *error, size_t error_bytes, int rc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_bytes, format, args);
    va_end(args);
    return rc;
}

virStorageVolPtr volume_find(struct remote *r, const char *name)
{
    return virStorageVolLookupByName(r->pool, name);
}

virStorageVolPtr volume_make(struct remote *r, const char *name, uint64_t bytes, bool *made)
{
    char xml[600];
    virStorageVolPtr v = volume_find(r, name);
    const virError *e = v ? NULL : virGetLastError();
    *made = false;
    if (v || !e || e->code != VIR_ERR_NO_STORAGE_VOL) {
        return v;
    }
    // Readable by all: paths on QEMU's command line get no owner by libvirt. A model is no secret
    // to those who may log in there; the folder is not listable.
    snprintf(xml, sizeof xml,
             "<volume>\n  <name>%s</name>\n  <capacity unit='bytes'>%" PRIu64 "</capacity>\n"
             "  <allocation>0</allocation>\n  <target>\n    <format type='raw'/>\n"
             "    <permissions><mode>0644</mode></permissions>\n  </target>\n</volume>\n",
             name, bytes);
    v = virStorageVolCreateXML(r->pool, xml, 0);
    *made = v != NULL;
    return v ? v : volume_find(r, name); // another one was faster
}

int volume_write(virConnectPtr c, virStorageVolPtr v, uint64_t at, const uint8_t *bytes,
                 uint64_t count)
{
    virStreamPtr s = virStreamNew(c, 0);
    int rc = s && virStorageVolUpload(v, s, at, count, 0) == 0 ? 0 : -EIO;
    bool begun = rc == 0;
    while (!rc && count) {
        int n = virStreamSend(s, (const char *)bytes, count < CHUNK ? (size_t)count : CHUNK);
        if (n < 0) {
            rc = -EIO;
            break;
        }
        bytes += n;
        count -= (uint64_t)n;
    }
    if (begun && rc) {
        virStreamAbort(s);
    } else if (begun && virStreamFinish(s) != 0) {
        rc = -EIO;
    }
    if (s) {
        virStreamFree(s);
    }
    return rc;
}

int volume_read(virConnectPtr c, virStorageVolPtr v, uint64_t at, uint64_t count,
                int (*take)(void *context, const char *bytes, size_t count), void *context)
{
    char *bytes = malloc(CHUNK);
    virStreamPtr s = virStreamNew(c, 0);
    int rc = !bytes ? -ENOMEM : s && virStorageVolDownload(v, s, at, count, 0) == 0 ? 0 : -EIO;
    bool begun = rc == 0;
    while (!rc) {
        int n = virStreamRecv(s, bytes, CHUNK);
        if (n <= 0) {
            rc = n < 0 ? -EIO : 0;
            break;
        }
        rc = take(context, bytes, (size_t)n);
    }
    if (begun && rc) {
        virStreamAbort(s);
    } else if (begun && virStreamFinish(s) != 0) {
        rc = -EIO;
    }
    if (s) {
        virStreamFree(s);
    }
    free(bytes);
    return rc;
}

void volume_modified(virStorageVolPtr v, char out[40])
{
    char *xml = virStorageVolGetXMLDesc(v, 0);
    const char *at = xml ? strstr(xml, "<mtime>") : NULL;
    size_t n = at ? strcspn(at + 7, "< ") : 0;
    snprintf(out, 40, "%.*s", n < 40 ? (int)n : 0, at ? at + 7 : "");
    free(xml);
}
