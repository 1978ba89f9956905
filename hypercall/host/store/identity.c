// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The identity of a file of weights: its SHA-256, read once and then remembered.
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/sha256.h"
#include "hypercall/host/store/private.h"

#include <unistd.h>

void store_show(const struct weights_progress *p, const char *what, uint64_t done, uint64_t total)
{
    if (p && p->show) {
        p->show(p->context, what, done, total);
    }
}

struct showing {
    const struct weights_progress *progress;
    uint64_t total;
};

static void show(void *context, uint64_t done)
{
    const struct showing *s = context;
    store_show(s->progress, "computing the model's SHA-256", done, s->total);
}

static int hash_file(const struct weights_file *f, const struct weights_progress *p,
                     uint8_t sha256[32], char *error, size_t error_bytes)
{
    struct showing s = {p, f->content};
    int rc = sha256_file(f->fd, f->content, show, &s, sha256);
    if (rc) {
        return error_say(error, error_bytes, rc, "%s: its SHA-256 cannot be computed: %s", f->path,
                         strerror(-rc));
    }
    return weights_file_unchanged(f, error, error_bytes);
}

int weights_content_hash(const struct weights_file *f, const struct weights_progress *p,
                         uint8_t sha256[32], char *error, size_t error_bytes)
{
    if (hash_cache_find(f, sha256)) {
        return 0;
    }
    int rc = hash_file(f, p, sha256, error, error_bytes);
    if (!rc) {
        hash_cache_keep(f, sha256);
    }
    return rc;
}

int weights_identity(const char *path, const struct weights_progress *progress,
                     struct weights_identity *out, char *error, size_t error_bytes)
{
    struct weights_file f;
    int rc = weights_file_open(path, &f, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (f.says_source) {
        *out = f.source;
    } else {
        out->packed_version = 0;
        rc = weights_content_hash(&f, progress, out->sha256, error, error_bytes);
    }
    weights_file_close(&f);
    return rc;
}

int weights_content_sha256(const char *path, bool again, const struct weights_progress *progress,
                           uint8_t sha256[32], char *error, size_t error_bytes)
{
    struct weights_file f;
    int rc = weights_file_open(path, &f, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (!again) {
        rc = weights_content_hash(&f, progress, sha256, error, error_bytes);
    } else if ((rc = hash_file(&f, progress, sha256, error, error_bytes)) == 0) {
        hash_cache_keep(&f, sha256);
    }
    weights_file_close(&f);
    return rc;
}

void weights_remember(const char *path, const uint8_t sha256[32])
{
    struct weights_file f;
    char error[256];
    if (weights_file_open(path, &f, error, sizeof error) == 0) {
        // Nobody else writes to it, so the tick of the clock that the cache waits for is short.
        usleep(60000);
        hash_cache_keep(&f, sha256);
        weights_file_close(&f);
    }
}
