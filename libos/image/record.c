// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a sealed image's record says, and holding a model against it.
#include "libos/image.h"
#include "libos/sha256.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RECORD = 64 << 10, HEX = 65 };
#define COMPATIBLE "tessera,image-1"

static int fail(char *error, size_t error_bytes, const char *what)
{
    snprintf(error, error_bytes, "the image's record: %s", what);
    return -EINVAL;
}

static bool read_bytes(const void *fdt, const char *name, void *out, int bytes)
{
    int length;
    const void *value = fdt_getprop(fdt, 0, name, &length);
    if (value == NULL || length != bytes) {
        return false;
    }
    memcpy(out, value, (size_t)bytes);
    return true;
}

int image_record_parse(const void *dtb, size_t bytes, struct image_record *out, char *error,
                       size_t error_bytes)
{
    uint64_t model_bytes;
    if (bytes < sizeof(struct fdt_header) || bytes > MOST_RECORD) {
        return fail(error, error_bytes, "its size cannot be a device tree's");
    }
    void *copy = malloc(bytes); // libfdt wants eight-byte alignment
    if (copy == NULL) {
        return fail(error, error_bytes, "no memory");
    }
    memcpy(copy, dtb, bytes);
    int rc = 0;
    // Version and size first: libfdt 1.6's check falls over others.
    if (fdt_magic(copy) != FDT_MAGIC || fdt_version(copy) != 17 || fdt_totalsize(copy) > bytes ||
        fdt_check_full(copy, bytes) != 0) {
        rc = fail(error, error_bytes, "not a sound device tree");
    } else if (fdt_node_check_compatible(copy, 0, COMPATIBLE) != 0) {
        rc = fail(error, error_bytes, "not of the kind " COMPATIBLE);
    } else if (!read_bytes(copy, "manifest-sha256", out->manifest_sha256, 32) ||
               !read_bytes(copy, "model-sha256", out->model_sha256, 32) ||
               !read_bytes(copy, "model-bytes", &model_bytes, 8)) {
        rc = fail(error, error_bytes,
                  "manifest-sha256, model-sha256 or model-bytes is missing or of a wrong size");
    } else {
        out->model_bytes = __builtin_bswap64(model_bytes);
    }
    free(copy);
    return rc;
}

static void hex(const uint8_t hash[32], char text[HEX])
{
    for (unsigned i = 0; i < 32; i++) {
        snprintf(text + (size_t)2 * i, 3, "%02x", hash[i]);
    }
}

int image_check_model(const struct image_record *r, const void *data, size_t bytes, size_t *content,
                      char *error, size_t error_bytes)
{
    uint8_t found[32];
    char found_text[HEX], wanted_text[HEX];
    if (r->model_bytes == 0 || r->model_bytes > bytes) {
        snprintf(error, error_bytes,
                 "refused: the model has %zu bytes, this image is sealed with one of %llu", bytes,
                 (unsigned long long)r->model_bytes);
        return -EKEYREJECTED;
    }
    sha256(data, (size_t)r->model_bytes, found);
    if (memcmp(found, r->model_sha256, sizeof found) != 0) {
        hex(found, found_text);
        hex(r->model_sha256, wanted_text);
        snprintf(error, error_bytes,
                 "refused: the model's SHA-256 is %s, this image is sealed with %s", found_text,
                 wanted_text);
        return -EKEYREJECTED;
    }
    *content = (size_t)r->model_bytes;
    return 0;
}
