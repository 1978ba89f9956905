// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
#include "hypercall/host/base/sha256.h"

#include "hypercall/host/base/hex.h"

#include <errno.h>
#include <fcntl.h>
#include <mbedtls/sha256.h>
#include <stdlib.h>
#include <unistd.h>

enum { STEP = 4 << 20 };

int sha256_bytes(const void *data, size_t bytes, uint8_t out[SHA256_BYTES])
{
    return mbedtls_sha256_ret(data, bytes, out, 0) ? -EIO : 0;
}

int sha256_bytes_text(const void *data, size_t bytes, char out[SHA256_TEXT])
{
    uint8_t sha[SHA256_BYTES];
    int rc = sha256_bytes(data, bytes, sha);
    if (!rc) {
        hex_write(sha, sizeof sha, out);
    }
    return rc;
}

static int take_all(mbedtls_sha256_context *sha, int fd, uint64_t bytes, uint8_t *step,
                    void (*show)(void *context, uint64_t done), void *context)
{
    for (uint64_t at = 0; at < bytes;) {
        uint64_t left = bytes - at;
        ssize_t n = pread(fd, step, left < STEP ? left : STEP, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : bytes == SHA256_WHOLE_FILE ? 0 : -ESTALE;
        }
        if (mbedtls_sha256_update_ret(sha, step, (size_t)n)) {
            return -EIO;
        }
        at += (uint64_t)n;
        if (show) {
            show(context, at);
        }
    }
    return 0;
}

int sha256_file(int fd, uint64_t bytes, void (*show)(void *context, uint64_t done), void *context,
                uint8_t out[SHA256_BYTES])
{
    mbedtls_sha256_context sha;
    uint8_t *step = malloc(STEP);
    if (!step) {
        return -ENOMEM;
    }
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    mbedtls_sha256_init(&sha);
    int rc = mbedtls_sha256_starts_ret(&sha, 0) ? -EIO : 0;
    rc = rc ? rc : take_all(&sha, fd, bytes, step, show, context);
    rc = !rc && mbedtls_sha256_finish_ret(&sha, out) ? -EIO : rc;
    mbedtls_sha256_free(&sha);
    free(step);
    return rc;
}
