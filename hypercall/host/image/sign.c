// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Signing what is there already. A disk is put together anew around its signed application: all
// that is on it is the application, the manifest and the model.
#include "hypercall/host/base/error.h"
#include "hypercall/host/image/sign.h"
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_PATH = 4096, SAID = 600 };

// Runs words, whose last is a NULL, into a temporary file that then becomes `out`; `place` is where
// its name goes among them.
static int make_with(const char **words, size_t place, const char *package, const char *out,
                     char *error, size_t error_bytes)
{
    char part[MOST_PATH], said[SAID] = "";
    int rc = image_temporary(out, part, sizeof part);
    if (rc) {
        return error_say(error, error_bytes, rc, "%s: %s", out, strerror(-rc));
    }
    words[place] = part;
    rc = image_program(words, said, sizeof said);
    if (rc == -ENOENT) {
        rc = error_say(error, error_bytes, rc, "%s is not installed (package %s)", words[0],
                       package);
    } else if (rc) {
        rc = error_say(error, error_bytes, rc, "%s failed: %s", words[0], said);
    } else if (rename(part, out) != 0) {
        rc = error_say(error, error_bytes, -errno, "%s: %s", out, strerror(errno));
    }
    if (rc) {
        unlink(part);
    }
    return rc;
}

int sign_application(const char *in, const char *out, const char *key, const char *cert,
                     char *error, size_t error_bytes)
{
    const char *words[] = {"sbsign", "--key", key, "--cert", cert, "--output", NULL, in, NULL};
    if (access(key, R_OK) != 0 || access(cert, R_OK) != 0) {
        const char *which = access(key, R_OK) != 0 ? key : cert;
        return error_say(error, error_bytes, -errno, "%s: %s", which, strerror(errno));
    }
    return make_with(words, 6, "sbsigntool", out, error, error_bytes);
}

int disk_to_qcow2(const char *raw, const char *out, char *error, size_t error_bytes)
{
    // All that could depend on QEMU's defaults is said.
    const char *words[] = {
        "qemu-img", "convert",
        "-f",       "raw",
        "-O",       "qcow2",
        "-S",       "4k",
        "-o",       "compat=1.1,cluster_size=65536,lazy_refcounts=off,refcount_bits=16",
        raw,        NULL,
        NULL};
    return make_with(words, 11, "qemu-utils", out, error, error_bytes);
}

static int copy_view(const struct image_view *v, const char *path, char *error, size_t error_bytes)
{
    struct rope r = {.count = 0};
    void *data;
    struct image_part all = {v, 0, v->bytes};
    int rc = part_load(&all, 1u << 31, &data);
    if (rc == 0) {
        rope_memory(&r, data, v->bytes);
        rc = rope_write(&r, path);
        free(data);
    }
    return rc ? error_say(error, error_bytes, rc, "%s: cannot be written: %s", path, strerror(-rc))
              : 0;
}

// A view as pieces of the opened file; only of raw disks.
static int rope_of(const struct image_view *v, struct rope *r)
{
    if (v->extent_count > 4) {
        return -ENOTSUP; // not as disk_make writes it
    }
    for (size_t i = 0; i < v->extent_count; i++) {
        rope_file(r, v->source->fd, v->extents[i].at, v->extents[i].bytes);
    }
    return 0;
}

static int sign_disk(const struct image_opened *o, const char *application, const char *out,
                     char *error, size_t error_bytes)
{
    struct rope disk = {.count = 0}, efi = {.count = 0}, manifest = {.count = 0},
                model = {.count = 0};
    struct keep k = {.count = 0};
    struct image_source s;
    int rc = source_open(application, &s, error, error_bytes);
    if (rc) {
        return rc;
    }
    rope_file(&efi, s.fd, 0, s.bytes);
    rc = rope_of(&o->disk.manifest, &manifest);
    rc = rc ? rc : rope_of(&o->disk.model, &model);
    rc = rc ? rc
            : disk_make(&disk, &k, &efi, manifest.bytes ? &manifest : NULL,
                        model.bytes ? &model : NULL);
    rc = rc ? rc : rope_write(&disk, out);
    if (rc) {
        error_say(error, error_bytes, rc, "%s: the disk cannot be made anew: %s", out,
                  rc == -ENOTSUP ? "its files lie in many pieces" : strerror(-rc));
    }
    source_close(&s);
    keep_free(&k);
    return rc;
}

static int sign_qcow2(const char *in, const char *out, const char *key, const char *cert,
                      char *error, size_t error_bytes)
{
    char raw[MOST_PATH];
    const char *words[] = {"qemu-img", "convert", "-f", "qcow2", "-O", "raw", in, NULL, NULL};
    int rc = image_temporary(out, raw, sizeof raw);
    if (rc) {
        return error_say(error, error_bytes, rc, "%s: %s", out, strerror(-rc));
    }
    rc = make_with(words, 7, "qemu-utils", raw, error, error_bytes);
    rc = rc ? rc : image_sign(raw, raw, key, cert, error, error_bytes);
    rc = rc ? rc : disk_to_qcow2(raw, out, error, error_bytes);
    unlink(raw);
    return rc;
}

int image_sign(const char *in, const char *out, const char *key, const char *cert, char *error,
               size_t error_bytes)
{
    struct image_opened o;
    char plain[MOST_PATH] = "", good[MOST_PATH] = "";
    int rc = image_open(in, &o, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (o.kind == IMAGE_PVH) {
        rc = error_say(error, error_bytes, -ENOTSUP,
                       "%s: is a PVH image, which no firmware checks; build it with --format "
                       "uefi, raw or qcow2 to sign it",
                       in);
    } else if (!o.sealed) {
        rc = error_say(error, error_bytes, -EINVAL,
                       "%s: is not sealed: signed, it would boot with any manifest, model and "
                       "command line; make one with `tessera image build`",
                       in);
    } else if (o.kind == IMAGE_UEFI) {
        rc = sign_application(in, out, key, cert, error, error_bytes);
    } else if (o.kind == IMAGE_QCOW2) { // checked above to name no other file
        rc = sign_qcow2(in, out, key, cert, error, error_bytes);
    } else {
        rc = image_temporary(out, plain, sizeof plain);
        rc = rc ? rc : image_temporary(out, good, sizeof good);
        if (rc) {
            error_say(error, error_bytes, rc, "%s: %s", out, strerror(-rc));
        }
        rc = rc ? rc : copy_view(&o.disk.efi, plain, error, error_bytes);
        rc = rc ? rc : sign_application(plain, good, key, cert, error, error_bytes);
        rc = rc ? rc : sign_disk(&o, good, out, error, error_bytes);
    }
    if (plain[0]) {
        unlink(plain);
    }
    if (good[0]) {
        unlink(good);
    }
    image_close(&o);
    return rc;
}

int image_check_signature(const char *path, const char *cert, char *error, size_t error_bytes)
{
    struct image_opened o;
    char plain[] = "/tmp/tessera-verify.XXXXXX", said[SAID] = "";
    const char *words[] = {"sbverify", "--cert", cert, path, NULL};
    bool copied = false;
    int rc = image_open(path, &o, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (o.kind == IMAGE_PVH) {
        rc = error_say(error, error_bytes, -ENOTSUP, "%s: PVH images have no signature", path);
    } else if (o.pe.certificate_bytes == 0) {
        rc = error_say(error, error_bytes, -EKEYREJECTED, "%s: is not signed", path);
    } else if (access(cert, R_OK) != 0) {
        rc = error_say(error, error_bytes, -errno, "%s: %s", cert, strerror(errno));
    } else if (o.kind != IMAGE_UEFI) {
        int fd = mkstemp(plain);
        copied = fd >= 0;
        rc = copied ? copy_view(&o.disk.efi, plain, error, error_bytes)
                    : error_say(error, error_bytes, -errno, "/tmp: %s", strerror(errno));
        if (copied) {
            close(fd);
        }
        words[3] = plain;
    }
    if (rc == 0) {
        rc = image_program(words, said, sizeof said);
        if (rc == -ENOENT) {
            error_say(error, error_bytes, rc, "sbverify is not installed (package sbsigntool)");
        } else if (rc) {
            rc = error_say(error, error_bytes, rc == -EIO ? -EKEYREJECTED : rc,
                           "%s: the signature is not good: %s", path, said);
        }
    }
    if (copied) {
        unlink(plain);
    }
    image_close(&o);
    return rc;
}
