// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// names/NAME: a small JSON file that says which blob a name stands for and where it came from.
#include "hypercall/host/base/files.h"
#include "hypercall/host/packages/private.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

static int wrong(char *error, size_t error_bytes, const char *field, const char *what)
{
    snprintf(error, error_bytes, "%s: %s", field, what);
    return -EINVAL;
}

// A text of less than `room` bytes without control characters.
static bool get_text(const json_t *o, const char *field, char *out, size_t room, bool optional)
{
    const json_t *value = json_object_get(o, field);
    if (!value && optional) {
        out[0] = 0;
        return true;
    }
    const char *text = json_string_value(value);
    if (!text || strlen(text) >= room || strlen(text) != json_string_length(value)) {
        return false;
    }
    pk_plain(out, room, text);
    return strcmp(out, text) == 0;
}

static bool get_size(const json_t *o, const char *field, uint64_t *out)
{
    const json_t *value = json_object_get(o, field);
    if (!json_is_integer(value) || json_integer_value(value) <= 0) {
        return false;
    }
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static int read_entry(const json_t *o, struct packages_entry *e, char *error, size_t error_bytes)
{
    char identity[WEIGHTS_TEXT];
    const json_t *source = json_object_get(o, "source");
    *e = (struct packages_entry){0};
    if (json_integer_value(json_object_get(o, "version")) != 1) {
        return wrong(error, error_bytes, "version", "is not 1");
    }
    if (!get_text(o, "name", e->name, sizeof e->name, false) || !packages_name_is_valid(e->name)) {
        return wrong(error, error_bytes, "name", "is none");
    }
    if (!get_text(o, "identity", identity, sizeof identity, false) ||
        weights_identity_parse(identity, &e->identity) != 0) {
        return wrong(error, error_bytes, "identity", "is none");
    }
    if (!get_text(o, "blob", e->blob, sizeof e->blob, false) || !pk_is_sha256(e->blob)) {
        return wrong(error, error_bytes, "blob", "is no SHA-256");
    }
    if (!get_size(o, "bytes", &e->bytes)) {
        return wrong(error, error_bytes, "bytes", "is no size");
    }
    if (!get_text(o, "type", e->type, sizeof e->type, false) ||
        !get_text(o, "converted", e->converted, sizeof e->converted, true) ||
        !get_text(o, "installed", e->installed, sizeof e->installed, false)) {
        return wrong(error, error_bytes, "type, converted or installed", "is no text");
    }
    e->packed = json_is_true(json_object_get(o, "packed"));
    if (!get_text(source, "from", e->source, sizeof e->source, false) ||
        !get_text(source, "sha256", e->source_sha256, sizeof e->source_sha256, false) ||
        !pk_is_sha256(e->source_sha256) || !get_size(source, "bytes", &e->source_bytes)) {
        return wrong(error, error_bytes, "source", "lacks from, sha256 or bytes");
    }
    return 0;
}

int pk_entry_parse(const char *text, size_t bytes, struct packages_entry *out, char *error,
                   size_t error_bytes)
{
    json_error_t why;
    json_t *o = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    if (!o) {
        char reason[JSON_ERROR_TEXT_LENGTH];
        pk_plain(reason, sizeof reason, why.text);
        snprintf(error, error_bytes, "line %d: %s", why.line, reason);
        return -EINVAL;
    }
    int rc = read_entry(o, out, error, error_bytes);
    json_decref(o);
    return rc;
}

char *pk_entry_text(const struct packages_entry *e)
{
    char identity[WEIGHTS_TEXT];
    weights_identity_text(&e->identity, identity);
    json_t *o = json_pack("{s:i s:s s:s s:s s:I s:s s:b s:s s:{s:s s:s s:I}}", "version", 1, "name",
                          e->name, "identity", identity, "blob", e->blob, "bytes",
                          (json_int_t)e->bytes, "type", e->type, "packed", (int)e->packed,
                          "installed", e->installed, "source", "from", e->source, "sha256",
                          e->source_sha256, "bytes", (json_int_t)e->source_bytes);
    if (o && e->converted[0] && json_object_set_new(o, "converted", json_string(e->converted))) {
        json_decref(o);
        o = NULL;
    }
    char *text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
    json_decref(o);
    return text;
}

int pk_entry_write(struct packages *p, const struct packages_entry *e)
{
    char path[PATH_MAX], fresh[PATH_MAX], *text = pk_entry_text(e);
    if (!text) {
        return pk_fail(p, -ENOMEM, "no memory, or a text that is no UTF-8: %s", e->source);
    }
    int rc = pk_path(p, path, "names/%s", e->name);
    rc = rc ? rc : pk_path(p, fresh, "names/.new"); // no name; the store's lock is held
    rc = rc ? rc : pk_write_atomic(p, path, fresh, text, strlen(text));
    free(text);
    return rc;
}

int packages_find(struct packages *p, const char *name, struct packages_entry *out)
{
    char path[PATH_MAX], *text, why[300];
    size_t bytes;
    if (!packages_name_is_valid(name)) {
        return pk_fail(p, -EINVAL,
                       "'%s' is no name: letters, digits, '.', '_' and '-', at most 96, a letter "
                       "or digit first",
                       name);
    }
    int rc = pk_path(p, path, "names/%s", name);
    rc = rc ? rc : file_load(path, ENTRY_MOST_BYTES, &text, &bytes);
    if (rc == -ENOENT) {
        return pk_fail(p, rc, "no model '%s' is installed in %s (`tessera pkg list` shows those)",
                       name, p->root);
    }
    if (rc) {
        return pk_fail(p, rc, "%s: %s", path, strerror(-rc));
    }
    rc = pk_entry_parse(text, bytes, out, why, sizeof why);
    free(text);
    if (rc || strcmp(out->name, name) != 0) {
        return pk_fail(p, -EBADMSG, "%s: is broken: %s (`tessera pkg remove %s` removes it)", path,
                       rc ? why : "it has another name", name);
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct packages_entry *)a)->name,
                  ((const struct packages_entry *)b)->name);
}

int packages_list(struct packages *p, struct packages_entry **out, size_t *count)
{
    char path[PATH_MAX];
    struct packages_entry *list = NULL;
    size_t n = 0, room = 0;
    int rc = pk_path(p, path, "names");
    *out = NULL;
    *count = 0;
    DIR *folder = rc ? NULL : opendir(path);
    if (!folder) {
        return rc || errno == ENOENT ? rc : pk_fail(p, -errno, "%s: %s", path, strerror(errno));
    }
    for (const struct dirent *d; (d = readdir(folder)) && !rc;) {
        if (!packages_name_is_valid(d->d_name)) {
            continue;
        }
        if (n == room) {
            room = room ? 2 * room : 16;
            struct packages_entry *more = realloc(list, room * sizeof *list);
            if (!more) {
                rc = pk_fail(p, -ENOMEM, "no memory");
                break;
            }
            list = more;
        }
        rc = packages_find(p, d->d_name, &list[n]);
        n += rc == 0;
        if (rc == -EBADMSG) {
            pk_say(p, "%s", p->error);
        }
        // Removed meanwhile, or broken: the others count.
        rc = rc == -ENOENT || rc == -EBADMSG ? 0 : rc;
    }
    closedir(folder);
    if (rc) {
        free(list);
        return rc;
    }
    if (n) {
        qsort(list, n, sizeof *list, by_name);
    }
    *out = list;
    *count = n;
    return 0;
}
