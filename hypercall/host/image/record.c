// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The record that seals an image, a device tree. The guest reads three of its properties
// (libos/image/record.c); the others are for people.
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 2048 };
#define COMPATIBLE "tessera,image-1"

int image_record_make(const struct image_record_facts *r, void **out, size_t *bytes)
{
    void *tree = calloc(1, ROOM);
    if (tree == NULL) {
        return -ENOMEM;
    }
    int rc = fdt_create(tree, ROOM);
    rc = rc ? rc : fdt_finish_reservemap(tree);
    rc = rc ? rc : fdt_begin_node(tree, "");
    rc = rc ? rc : fdt_property_string(tree, "compatible", COMPATIBLE);
    rc = rc ? rc : fdt_property(tree, "manifest-sha256", r->manifest_sha256, 32);
    rc = rc ? rc : fdt_property(tree, "model-sha256", r->model_sha256, 32);
    rc = rc ? rc : fdt_property_u64(tree, "model-bytes", r->model_bytes);
    rc = rc ? rc
            : fdt_property(tree, "name-of-model", r->model_name, (int)strlen(r->model_name) + 1);
    rc = rc ? rc
            : fdt_property(tree, "identity-of-model", r->model_identity,
                           (int)strlen(r->model_identity) + 1);
    rc = rc ? rc : fdt_end_node(tree);
    rc = rc ? rc : fdt_finish(tree);
    if (rc) {
        free(tree);
        return -ENOSPC;
    }
    *out = tree;
    *bytes = fdt_totalsize(tree);
    return 0;
}

static bool get_bytes(const void *tree, const char *name, void *out, int bytes)
{
    int length;
    const void *value = fdt_getprop(tree, 0, name, &length);
    if (value == NULL || length != bytes) {
        return false;
    }
    memcpy(out, value, (size_t)bytes);
    return true;
}

// Shown on terminals: printable or nothing.
static void get_text(const void *tree, const char *name, char *out, size_t room)
{
    int length;
    const char *value = fdt_getprop(tree, 0, name, &length);
    out[0] = 0;
    if (value == NULL || length <= 0 || (size_t)length > room || value[length - 1] != 0) {
        return;
    }
    for (int i = 0; i < length - 1; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f) {
            return;
        }
    }
    memcpy(out, value, (size_t)length);
}

int image_record_read(const void *dtb, size_t bytes, struct image_record_facts *out)
{
    uint8_t size[8];
    memset(out, 0, sizeof *out);
    if (!tree_is_sound(dtb, bytes) || fdt_node_check_compatible(dtb, 0, COMPATIBLE) != 0 ||
        !get_bytes(dtb, "manifest-sha256", out->manifest_sha256, 32) ||
        !get_bytes(dtb, "model-sha256", out->model_sha256, 32) ||
        !get_bytes(dtb, "model-bytes", size, 8)) {
        return -EINVAL;
    }
    for (int i = 0; i < 8; i++) {
        out->model_bytes = out->model_bytes << 8 | size[i];
    }
    get_text(dtb, "name-of-model", out->model_name, sizeof out->model_name);
    get_text(dtb, "identity-of-model", out->model_identity, sizeof out->model_identity);
    return 0;
}
