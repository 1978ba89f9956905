// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The manifest as a flattened device tree, read with libfdt after a full check of its structure.
// Unknown nodes and the usual bookkeeping properties are ignored; an unknown property in a node of
// ours, or a value of the wrong kind, is refused with its path. Source: Devicetree Specification
// 0.4, ch. 5.
#include "libos/manifest/keys.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DTB    (1u << 20)
#define COMPATIBLE "tessera,manifest-1"

static bool is_bookkeeping(const char *name)
{
    static const char *const names[] = {"compatible",    "model",  "phandle",
                                        "linux,phandle", "status", "#address-cells",
                                        "#size-cells",   "reg",    "ranges"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static uint64_t big_endian(const uint8_t *data, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) {
        v = v << 8 | data[i];
    }
    return v;
}

// One string: NUL at the end and nowhere else.
static bool is_string(const char *data, int length)
{
    return length > 0 && memchr(data, 0, (size_t)length) == data + length - 1;
}

static int take_property(struct manifest_builder *b, const struct manifest_key *key,
                         const char *data, int length, const char *where)
{
    if (key->kind == KEY_BOOL && length == 0) {
        return manifest_set_text(b, key, "on", 2, where);
    }
    bool numeric = key->kind == KEY_NUMBER || key->kind == KEY_BYTES;
    bool text_allowed = key->kind != KEY_NUMBER;
    // Four or eight bytes are cells where a number is meant, unless they are a printed text
    // ("64M").
    if (numeric && (length == 4 || length == 8) &&
        !(text_allowed && is_string(data, length) && data[0] > ' ')) {
        return manifest_set_number(b, key, big_endian((const uint8_t *)data, length), where);
    }
    if (!text_allowed) {
        return manifest_error(b, where, "is %d bytes; expected one cell with %s", length,
                              key->expected);
    }
    if (!is_string(data, length)) {
        return manifest_error(b, where, "is not a string; expected %s", key->expected);
    }
    return manifest_set_text(b, key, data, (size_t)length - 1, where);
}

static int take_node(struct manifest_builder *b, const void *fdt, int node, const char *section)
{
    int property;
    fdt_for_each_property_offset(property, fdt, node)
    {
        char where[128];
        const char *name;
        int length;
        const char *data = fdt_getprop_by_offset(fdt, property, &name, &length);
        if (data == NULL) {
            return manifest_error(b, section[0] ? section : "/", "property table is damaged");
        }
        snprintf(where, sizeof(where), "manifest, /%s%s%.64s", section, section[0] ? "/" : "",
                 name);
        // A property "name" means the node's own name to dtc: ours are guest-name, model-name.
        char own[32];
        snprintf(own, sizeof(own), "%s-name", section[0] ? section : "guest");
        const char *key_name = strcmp(name, own) == 0 ? "name" : name;
        const struct manifest_key *key =
            manifest_key_find(section, strlen(section), key_name, strlen(key_name));
        if (key == NULL) {
            if (section[0] == '\0' || is_bookkeeping(name)) {
                continue;
            }
            return manifest_error(b, where, "no such property");
        }
        int error = take_property(b, key, data, length, where);
        if (error) {
            return error;
        }
    }
    return 0;
}

static int take_tree(struct manifest_builder *b, const void *fdt)
{
    int length;
    const char *compatible = fdt_getprop(fdt, 0, "compatible", &length);
    if (compatible == NULL || fdt_stringlist_search(fdt, 0, "compatible", COMPATIBLE) < 0) {
        return manifest_error(b, "manifest, /compatible", "expected \"" COMPATIBLE "\"");
    }
    int error = take_node(b, fdt, 0, "");
    int node;
    fdt_for_each_subnode(node, fdt, 0)
    {
        const char *name = fdt_get_name(fdt, node, NULL);
        if (error) {
            break;
        }
        if (name && manifest_section_known(name, strlen(name))) {
            error = take_node(b, fdt, node, name);
        }
    }
    return error;
}

int manifest_from_dtb(struct manifest_builder *b, const void *dtb, size_t bytes)
{
    if (bytes < FDT_V1_SIZE || bytes > MAX_DTB) {
        return manifest_error(b, "manifest", "%zu bytes cannot be a device tree", bytes);
    }
    // libfdt wants eight-byte alignment; in a cpio archive there are four.
    void *copy = malloc(bytes);
    if (copy == NULL) {
        manifest_error(b, "manifest", "no memory to read it");
        return -ENOMEM;
    }
    memcpy(copy, dtb, bytes);
    // Older versions than 16 have a layout of their own that nobody writes, and that
    // fdt_check_full of libfdt 1.6 trips over.
    bool old = fdt_magic(copy) == FDT_MAGIC && fdt_version(copy) < 16;
    int error = old ? -FDT_ERR_BADVERSION : fdt_check_full(copy, bytes);
    if (error) {
        error = manifest_error(b, "manifest", "not a sound device tree: %s", fdt_strerror(error));
    } else {
        error = take_tree(b, copy);
    }
    free(copy);
    return error;
}
