// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The identities of a specification's files, and the paths of installed models.
#include "hypercall/host/fleet/spec.h"

#include "hypercall/host/base/error.h"
#include "hypercall/host/base/hex.h"
#include "hypercall/host/base/sha256.h"
#include "hypercall/host/store/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int image_identity(const char *path, char out[FLEET_IDENTITY], char *error,
                          size_t error_bytes)
{
    uint8_t sha256[SHA256_BYTES];
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = fd < 0 || fstat(fd, &s) != 0 ? -errno : S_ISREG(s.st_mode) ? 0 : -EINVAL;
    rc = rc ? rc : sha256_file(fd, SHA256_WHOLE_FILE, NULL, NULL, sha256);
    if (fd >= 0) {
        close(fd);
    }
    if (rc) {
        return error_say(error, error_bytes, rc, "%s: %s", path,
                         rc == -EINVAL ? "is no file" : strerror(-rc));
    }
    strcpy(out, "sha256:");
    hex_write(sha256, sizeof sha256, out + strlen(out));
    return 0;
}

// One with its model in it, most likely.
static bool is_image(const char *path)
{
    char head[4] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && read(fd, head, sizeof head) == sizeof head &&
              (memcmp(head, "\177ELF", 4) == 0 || memcmp(head, "MZ", 2) == 0 ||
               memcmp(head, "QFI\373", 4) == 0);
    if (fd >= 0) {
        close(fd);
    }
    return is;
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
        return is_image(v->model)
                   ? error_say(error, error_bytes, rc,
                               "%s is an image: a fleet's `model` is a GGUF file, which all its "
                               "guests share; `image` may name one of `tessera image build "
                               "--model-outside`",
                               v->model)
                   : rc;
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
