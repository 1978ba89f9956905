// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The identities of a specification's files, and the paths of installed models.
#include "hypercall/host/fleet/spec.h"

#include "hypercall/host/store/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <mbedtls/sha256.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int image_identity(const char *path, char out[FLEET_IDENTITY], char *error,
                          size_t error_bytes)
{
    mbedtls_sha256_context sha;
    uint8_t sha256[32], block[65536];
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &s) != 0) {
        int rc = -errno;
        snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    if (!S_ISREG(s.st_mode)) {
        snprintf(error, error_bytes, "%s: is no file", path);
        close(fd);
        return -EINVAL;
    }
    mbedtls_sha256_init(&sha);
    mbedtls_sha256_starts_ret(&sha, 0);
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) > 0) {
        mbedtls_sha256_update_ret(&sha, block, (size_t)n);
    }
    mbedtls_sha256_finish_ret(&sha, sha256);
    mbedtls_sha256_free(&sha);
    close(fd);
    if (n < 0) {
        snprintf(error, error_bytes, "%s: cannot be read", path);
        return -EIO;
    }
    size_t at = (size_t)snprintf(out, FLEET_IDENTITY, "sha256:");
    for (size_t i = 0; i < sizeof sha256; i++) {
        at += (size_t)snprintf(out + at, FLEET_IDENTITY - at, "%02x", sha256[i]);
    }
    return 0;
}

int fleet_resolve_variant(struct fleet_variant *v, const char *image, fleet_installed_fn *installed,
                          const struct weights_progress *progress, char *error, size_t error_bytes)
{
    struct weights_identity id;
    int rc = 0;
    if (v->model[0] != '/') {
        char path[FLEET_PATH];
        if (!installed) {
            snprintf(error, error_bytes,
                     "%s: is neither a file (write ./%s) nor an installed model", v->model,
                     v->model);
            return -ENOENT;
        }
        rc = installed(v->model, path, sizeof path, error, error_bytes);
        if (rc) {
            return rc;
        }
        memcpy(v->model, path, sizeof path);
    }
    rc = weights_identity(v->model, progress, &id, error, error_bytes);
    if (rc) {
        return rc;
    }
    weights_identity_text(&id, v->model_identity);
    if (!v->image[0] && image) {
        snprintf(v->image, sizeof v->image, "%s", image);
    }
    return v->image[0] ? image_identity(v->image, v->image_identity, error, error_bytes) : 0;
}

int fleet_resolve(struct fleet_spec *s, const char *image, fleet_installed_fn *installed,
                  const struct weights_progress *progress, char *error, size_t error_bytes)
{
    for (size_t i = 0; i < s->model_count; i++) {
        struct fleet_model *m = &s->models[i];
        char why[400];
        int rc = fleet_resolve_variant(&m->variant, image, installed, progress, why, sizeof why);
        if (rc == 0 && m->has_canary) {
            rc = fleet_resolve_variant(&m->canary, image, installed, progress, why, sizeof why);
        }
        if (rc) {
            snprintf(error, error_bytes, "models[%zu] (%s): %s", i, m->name, why);
            return rc;
        }
    }
    return 0;
}
