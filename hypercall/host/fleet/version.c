// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a version is: a hash over all that defines a guest; and the identities of its files.
#include "hypercall/host/fleet/plan.h"

#include "hypercall/host/store/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <mbedtls/sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void write_hex(const uint8_t *bytes, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

// Without the paths of files whose content is known.
static json_t *identity_form(const struct fleet_variant *v)
{
    json_t *o = fleet_variant_to_json(v);
    if (o && v->model_identity[0]) {
        json_object_del(o, "model");
    }
    if (o && v->image_identity[0]) {
        json_object_del(o, "image");
    }
    return o;
}

void fleet_version(const struct fleet_variant *v, char out[FLEET_VERSION])
{
    uint8_t sha256[32] = {0};
    json_t *o = identity_form(v);
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (text) {
        mbedtls_sha256_ret((const unsigned char *)text, strlen(text), sha256, 0);
    }
    write_hex(sha256, (FLEET_VERSION - 1) / 2, out);
    free(text);
    json_decref(o);
}

bool fleet_variant_differs(const struct fleet_variant *a, const struct fleet_variant *b)
{
    json_t *x = identity_form(a), *y = identity_form(b);
    bool differs = !x || !y || !json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return differs;
}

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
    strcpy(out, "sha256:");
    write_hex(sha256, sizeof sha256, out + 7);
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
