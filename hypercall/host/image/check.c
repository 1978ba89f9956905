// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Holding the manifest and the model against the record, as the guest will.
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/hex.h"
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <string.h>

// `bytes` 0: all of the part.
static int compare(const struct image_part *p, uint64_t bytes, const uint8_t wanted[32],
                   const char *what, const char *where, char *error, size_t error_bytes)
{
    uint8_t found[32];
    char found_text[65], wanted_text[65];
    if (bytes > p->bytes) {
        return error_say(error, error_bytes, -EKEYREJECTED,
                         "%s: the %s has %llu bytes, the image is sealed with one of %llu", where,
                         what, (unsigned long long)p->bytes, (unsigned long long)bytes);
    }
    int rc = part_sha256(p, bytes ? bytes : p->bytes, found);
    if (rc) {
        return error_say(error, error_bytes, rc, "%s: cannot be read: %s", where, strerror(-rc));
    }
    if (memcmp(found, wanted, sizeof found) != 0) {
        hex_write(found, 32, found_text);
        hex_write(wanted, 32, wanted_text);
        return error_say(error, error_bytes, -EKEYREJECTED,
                         "%s: the %s's SHA-256 is %s, the image is sealed with %s", where, what,
                         found_text, wanted_text);
    }
    return 0;
}

static int check(const char *path, const char *file, bool model, char *error, size_t error_bytes)
{
    struct image_opened o;
    struct image_source s = {.fd = -1};
    struct image_view v;
    struct image_part given;
    const char *what = model ? "model" : "manifest";
    int rc = image_open(path, &o, error, error_bytes);
    if (rc) {
        return rc;
    }
    const struct image_part *p = model ? &o.model : &o.manifest;
    if (file != NULL && (rc = source_open(file, &s, error, error_bytes)) == 0) {
        v = (struct image_view){.source = &s, .bytes = s.bytes};
        given = (struct image_part){&v, 0, v.bytes};
        p = &given;
    }
    if (rc == 0 && !o.sealed) {
        rc = error_say(error, error_bytes, -EINVAL,
                       "%s: is not sealed: it takes any manifest and model", path);
    } else if (rc == 0 && p->bytes == 0) {
        rc = error_say(error, error_bytes, -ENOENT, "%s: the %s is not inside", path, what);
    }
    rc = rc ? rc
            : compare(p, model ? o.record.model_bytes : 0,
                      model ? o.record.model_sha256 : o.record.manifest_sha256, what,
                      file ? file : path, error, error_bytes);
    source_close(&s);
    image_close(&o);
    return rc;
}

int image_check_manifest(const char *path, const char *file, char *error, size_t error_bytes)
{
    return check(path, file, false, error, error_bytes);
}

int image_check_model_file(const char *path, const char *file, char *error, size_t error_bytes)
{
    return check(path, file, true, error, error_bytes);
}
