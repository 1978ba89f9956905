// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Records of saved states: what they say, compared, and as JSON.
#include "hypercall/host/base/files.h"
#include "hypercall/host/machine/record.h"

#include "hypercall/host/machine/record_private.h"
#include "hypercall/host/machine/text.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, MOST_BYTES = 64 << 10 };

// ---- comparing ---------------------------------------------------------------------------------

// The same file, or another with the same content.
static bool same_file(const struct record_file *a, const struct record_file *b)
{
    if (strcmp(a->path, b->path) != 0 || a->bytes != b->bytes) {
        return false;
    }
    bool untouched = a->device == b->device && a->inode == b->inode &&
                     a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
    return untouched || (a->sha256[0] && strcmp(a->sha256, b->sha256) == 0);
}

int record_compare(const struct record *saved, const struct record *now, char *error,
                   size_t error_bytes)
{
    struct text t = {0};
    const char *comma = "";
    if (strcmp(saved->uuid, now->uuid) != 0) {
        text_add(&t, "%sthe guest (it was removed and made again)", comma);
        comma = ", ";
    }
    if (!same_file(&saved->image, &now->image)) {
        text_add(&t, "%sthe image %s", comma, saved->image.path);
        comma = ", ";
    }
    if (strcmp(saved->identity, now->identity) != 0 || !same_file(&saved->weights, &now->weights)) {
        text_add(&t, "%sthe model's weights %s", comma, saved->weights.path);
        comma = ", ";
    }
    if (strcmp(saved->cpu, now->cpu) != 0) {
        text_add(&t, "%sthe host's CPU (%s then, %s now)", comma, saved->cpu_name, now->cpu_name);
        comma = ", ";
    }
    if (saved->qemu != now->qemu) {
        text_add(&t, "%sQEMU (%" PRIu64 ".%" PRIu64 " then, %" PRIu64 ".%" PRIu64 " now)", comma,
                 saved->qemu / 1000000, saved->qemu / 1000 % 1000, now->qemu / 1000000,
                 now->qemu / 1000 % 1000);
        comma = ", ";
    }
    if (strcmp(saved->definition, now->definition) != 0) {
        text_add(&t, "%sthe guest's definition (`virsh edit`, another port)", comma);
        comma = ", ";
    }
    if (comma[0] == 0 && !t.failed) {
        return 0;
    }
    snprintf(error, error_bytes, "%s", t.failed ? "no memory" : t.data);
    free(t.data);
    return t.failed ? -ENOMEM : -ESTALE;
}

// ---- JSON --------------------------------------------------------------------------------------

static json_t *file_json(const struct record_file *f)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "path", f->path, "device",
                     (json_int_t)f->device, "inode", (json_int_t)f->inode, "bytes",
                     (json_int_t)f->bytes, "modified_ns", (json_int_t)f->modified_ns, "changed_ns",
                     (json_int_t)f->changed_ns, "sha256", f->sha256);
}

static bool take_text(const json_t *o, const char *key, char *out, size_t room)
{
    const json_t *v = json_object_get(o, key);
    size_t bytes = json_string_length(v);
    const char *text = json_string_value(v);
    // Messages show these texts.
    if (!text || bytes >= room || strlen(text) != bytes || !text_is_clean(text)) {
        return false;
    }
    memcpy(out, text, bytes + 1);
    return true;
}

static bool take_number(const json_t *o, const char *key, uint64_t *out)
{
    const json_t *v = json_object_get(o, key);
    *out = (uint64_t)json_integer_value(v);
    return json_is_integer(v);
}

static bool take_file(const json_t *o, struct record_file *f)
{
    uint64_t modified, changed;
    if (!take_text(o, "path", f->path, sizeof f->path) || !take_number(o, "device", &f->device) ||
        !take_number(o, "inode", &f->inode) || !take_number(o, "bytes", &f->bytes) ||
        !take_number(o, "modified_ns", &modified) || !take_number(o, "changed_ns", &changed) ||
        !take_text(o, "sha256", f->sha256, sizeof f->sha256)) {
        return false;
    }
    f->modified_ns = (int64_t)modified;
    f->changed_ns = (int64_t)changed;
    return true;
}

int record_parse(const char *text, size_t bytes, struct record *out)
{
    uint64_t format;
    memset(out, 0, sizeof *out);
    json_t *o = bytes <= MOST_BYTES ? json_loadb(text, bytes, 0, NULL) : NULL;
    bool good = take_number(o, "format", &format) && format == FORMAT &&
                take_text(o, "uuid", out->uuid, sizeof out->uuid) &&
                take_text(o, "definition", out->definition, sizeof out->definition) &&
                take_text(o, "identity", out->identity, sizeof out->identity) &&
                take_file(json_object_get(o, "image"), &out->image) &&
                take_file(json_object_get(o, "weights"), &out->weights) &&
                take_text(o, "cpu", out->cpu, sizeof out->cpu) &&
                take_text(o, "cpu_name", out->cpu_name, sizeof out->cpu_name) &&
                take_number(o, "qemu", &out->qemu);
    json_decref(o);
    return good ? 0 : -EBADMSG;
}

int record_read(const char *path, struct record *out, char *error, size_t error_bytes)
{
    char *text;
    size_t bytes;
    int rc = file_load(path, MOST_BYTES, &text, &bytes);
    if (!rc) {
        rc = record_parse(text, bytes, out);
        free(text);
    }
    if (rc) {
        snprintf(error, error_bytes, "%s: %s", path,
                 rc == -EBADMSG || rc == -EFBIG ? "no record of a saved state" : strerror(-rc));
    }
    return rc;
}

int record_write(const char *path, const struct record *r, char *error, size_t error_bytes)
{
    json_t *o = json_pack("{s:i, s:s, s:s, s:s, s:o, s:o, s:s, s:s, s:I}", "format", FORMAT, "uuid",
                          r->uuid, "definition", r->definition, "identity", r->identity, "image",
                          file_json(&r->image), "weights", file_json(&r->weights), "cpu", r->cpu,
                          "cpu_name", r->cpu_name, "qemu", (json_int_t)r->qemu);
    return record_store(path, o, error, error_bytes);
}
