// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// partial/: the bytes of a source that have come so far, and a note of what they are, so that the
// next run goes on where one was killed. One source, one key, one lock.
#include "hypercall/host/base/files.h"
#include "hypercall/host/base/sha256.h"
#include "hypercall/host/packages/private.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

// Bytes that were written but not synced are there after a kill, and may not be after a power cut.
static void boot_name(char out[64])
{
    out[0] = 0;
    // The size of a file of /proc is 0, so it is read as a stream.
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (f && fgets(out, 64, f)) {
        out[strcspn(out, "\n")] = 0;
    }
    if (f) {
        fclose(f);
    }
}

static bool copy_text(char *out, size_t room, const json_t *value)
{
    const char *text = value ? json_string_value(value) : "";
    if (!text || strlen(text) >= room) {
        return false;
    }
    pk_plain(out, room, text);
    return strcmp(out, text) == 0; // goes into a request's header: no line ends
}

int pk_note_parse(const char *text, size_t bytes, struct partial *out, bool *same_boot)
{
    json_t *o = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    json_int_t total = json_integer_value(json_object_get(o, "total"));
    json_int_t synced = json_integer_value(json_object_get(o, "synced"));
    const char *boot = json_string_value(json_object_get(o, "boot"));
    bool good = o && boot && total >= 0 && synced >= 0 &&
                copy_text(out->etag, sizeof out->etag, json_object_get(o, "etag")) &&
                copy_text(out->modified, sizeof out->modified, json_object_get(o, "modified"));
    if (good) {
        char now[64];
        boot_name(now);
        *same_boot = now[0] && strcmp(now, boot) == 0;
        out->total = (uint64_t)total;
        out->synced = (uint64_t)synced;
    } else {
        pk_partial_forget(out);
    }
    json_decref(o);
    return good ? 0 : -EINVAL;
}

int pk_partial_note(struct packages *p, const struct partial *part)
{
    char boot[64];
    boot_name(boot);
    json_t *o =
        json_pack("{s:s s:s s:I s:I s:s}", "etag", part->etag, "modified", part->modified, "total",
                  (json_int_t)part->total, "synced", (json_int_t)part->synced, "boot", boot);
    char *text = o ? json_dumps(o, 0) : NULL;
    int rc = text ? pk_write_atomic(p, part->note, part->fresh, text, strlen(text))
                  : pk_fail(p, -ENOMEM, "no memory");
    json_decref(o);
    free(text);
    return rc;
}

void pk_partial_forget(struct partial *part)
{
    part->etag[0] = part->modified[0] = 0;
    part->total = part->synced = 0;
}

static void read_note(struct partial *part)
{
    char *text;
    size_t bytes;
    bool same_boot;
    struct stat s;
    if (file_load(part->note, ENTRY_MOST_BYTES, &text, &bytes) != 0) {
        return;
    }
    if (pk_note_parse(text, bytes, part, &same_boot) == 0 && !same_boot &&
        stat(part->part, &s) == 0 && (uint64_t)s.st_size > part->synced &&
        truncate(part->part, (off_t)part->synced) != 0) {
        pk_partial_forget(part);
    }
    free(text);
}

int pk_partial_open(struct packages *p, const char *place, struct partial *out)
{
    *out = (struct partial){.lock = -1};
    if (sha256_bytes_text(place, strlen(place), out->key)) {
        return pk_fail(p, -EIO, "the SHA-256 of a name cannot be computed");
    }
    int rc = pk_path(p, out->part, "partial/%s.part", out->key);
    rc = rc ? rc : pk_path(p, out->note, "partial/%s.note", out->key);
    rc = rc ? rc : pk_path(p, out->fresh, "partial/%s.new", out->key);
    rc = rc ? rc : pk_path(p, out->made, "partial/%s.made.gguf", out->key);
    if (rc) {
        return rc;
    }
    out->lock = pk_lock_source(p, out->key, true);
    if (out->lock < 0) {
        return out->lock;
    }
    read_note(out);
    return 0;
}

void pk_partial_close(struct packages *p, struct partial *part, bool done)
{
    if (part->lock < 0) {
        return;
    }
    // Half of a conversion is of no use to anybody.
    static const char *const ends[] = {"", ".part", ".quant", ".quant.part"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char half[PATH_MAX + 16];
        snprintf(half, sizeof half, "%s%s", part->made, ends[i]);
        unlink(half);
    }
    unlink(part->fresh);
    if (done) {
        unlink(part->part);
        unlink(part->note);
    }
    pk_unlock_source(p, part->key, part->lock);
    part->lock = -1;
}
