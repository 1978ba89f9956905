// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The manifest of an image: a device tree, or its source, or nothing, with settings on top. The
// keys are the guest's (libos/manifest/README.md); the guest judges their values, and names the
// path where one is wrong.
#include "hypercall/host/base/error.h"
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_MANIFEST = 1 << 20, ROOM = 16 << 10, MOST_WORD = 256 };
#define COMPATIBLE "tessera,manifest-1"

// The guest's keys (manifest_test.c holds them against its table); numbers are one cell in the
// tree, all others texts.
const struct manifest_setting manifest_settings[] = {
    {"name", false},         {"log", false},
    {"shell", false},        {"net.dhcp", false},
    {"net.address", false},  {"net.gateway", false},
    {"net.dns", false},      {"net.address6", false},
    {"net.hostname", false}, {"http.port", true},
    {"http.key", false},     {"model.source", false},
    {"model.name", false},   {"model.identity", false},
    {"offload.mode", false}, {"offload.spin", true},
    {"zone.tensor", false},  {"zone.model", false},
    {"zone.dma", false},     {"zone.store", false},
    {"zone.kernel", false},  {"sched.cpus", true},
    {"engine.isa", false},   {"engine.context", true},
    {"engine.slots", true},
};
const size_t manifest_setting_count = sizeof manifest_settings / sizeof *manifest_settings;

static const struct manifest_setting *find(const char *key)
{
    for (size_t i = 0; i < manifest_setting_count; i++) {
        if (strcmp(manifest_settings[i].key, key) == 0) {
            return &manifest_settings[i];
        }
    }
    return NULL;
}

bool tree_is_sound(const void *dtb, size_t bytes)
{
    return bytes >= sizeof(struct fdt_header) && fdt_magic(dtb) == FDT_MAGIC &&
           fdt_version(dtb) == 17 && fdt_totalsize(dtb) <= bytes && fdt_check_full(dtb, bytes) == 0;
}

int manifest_check(const void *dtb, size_t bytes)
{
    return tree_is_sound(dtb, bytes) && fdt_node_check_compatible(dtb, 0, COMPATIBLE) == 0
               ? 0
               : -EINVAL;
}

static int set_number(void *tree, int node, const char *name, const char *value)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno || number > UINT32_MAX) {
        return -EINVAL;
    }
    return fdt_setprop_u32(tree, node, name, (uint32_t)number);
}

static int apply(void *tree, const char *setting, char *error, size_t error_bytes)
{
    const char *equals = strchr(setting, '=');
    char key[MOST_WORD], section[MOST_WORD] = "", name[MOST_WORD];
    if (equals == NULL || equals == setting || equals - setting >= (ptrdiff_t)sizeof key) {
        return error_say(error, error_bytes, -EINVAL, "--set '%s': expected KEY=VALUE", setting);
    }
    size_t length = (size_t)(equals - setting);
    memcpy(key, setting, length);
    key[length] = 0;
    const struct manifest_setting *known = find(key);
    if (known == NULL) {
        return error_say(error, error_bytes, -EINVAL,
                         "--set '%s': no such key; libos/manifest/README.md lists them, like "
                         "http.port=8080 or engine.context=2048",
                         setting);
    }
    const char *dot = strchr(key, '.');
    size_t section_length = dot ? (size_t)(dot - key) : 0;
    memcpy(section, key, section_length);
    section[section_length] = 0;
    // The property "name" means the node's own name to dtc.
    const char *last = dot ? dot + 1 : key;
    if (strcmp(last, "name") == 0) {
        snprintf(name, sizeof name, "%.200s-name", dot ? section : "guest");
    } else {
        snprintf(name, sizeof name, "%s", last);
    }
    int node = dot ? fdt_subnode_offset(tree, 0, section) : 0;
    if (node == -FDT_ERR_NOTFOUND) {
        node = fdt_add_subnode(tree, 0, section);
    }
    if (node < 0) {
        return error_say(error, error_bytes, -ENOSPC, "--set '%s': the manifest is full", setting);
    }
    const char *value = equals + 1;
    int rc = known->is_number ? set_number(tree, node, name, value)
                              : fdt_setprop(tree, node, name, value, (int)strlen(value) + 1);
    if (rc == -EINVAL) {
        return error_say(error, error_bytes, -EINVAL, "--set '%s': expected a whole number",
                         setting);
    }
    return rc ? error_say(error, error_bytes, -ENOSPC, "--set '%s': the manifest is full", setting)
              : 0;
}

static int load(const char *path, void **out, size_t *bytes, char *error, size_t error_bytes)
{
    struct image_source s;
    struct image_view v;
    struct image_part p;
    int rc = source_open(path, &s, error, error_bytes);
    if (rc) {
        return rc;
    }
    v = (struct image_view){.source = &s, .bytes = s.bytes};
    part_of(&v, 0, v.bytes, &p);
    rc = part_load(&p, MOST_MANIFEST, out);
    *bytes = (size_t)p.bytes;
    source_close(&s);
    return rc ? error_say(error, error_bytes, rc, "%s: cannot be read: %s", path, strerror(-rc))
              : 0;
}

// The source of a device tree, by dtc.
static int compile(const char *path, void **out, size_t *bytes, char *error, size_t error_bytes)
{
    char to[] = "/tmp/tessera-manifest.XXXXXX", said[600] = "";
    int fd = mkostemp(to, O_CLOEXEC);
    if (fd < 0) {
        return error_say(error, error_bytes, -errno, "/tmp: %s", strerror(errno));
    }
    close(fd);
    const char *const words[] = {"dtc", "-q", "-I", "dts", "-O", "dtb", "-o", to, path, NULL};
    int rc = image_program(words, said, sizeof said);
    if (rc == -ENOENT) {
        rc = error_say(error, error_bytes, rc,
                       "%s: is device tree source, and dtc is not installed (package "
                       "device-tree-compiler); give the compiled manifest, or --set",
                       path);
    } else if (rc) {
        rc = error_say(error, error_bytes, -EINVAL, "%s: dtc says: %s", path, said);
    } else {
        rc = load(to, out, bytes, error, error_bytes);
    }
    unlink(to);
    return rc;
}

static int base(const char *path, void **out, size_t *bytes, char *error, size_t error_bytes)
{
    if (path == NULL) {
        *out = malloc(ROOM);
        *bytes = ROOM;
        if (*out == NULL || fdt_create_empty_tree(*out, ROOM) != 0 ||
            fdt_setprop_string(*out, 0, "compatible", COMPATIBLE) != 0) {
            return error_say(error, error_bytes, -ENOMEM, "no memory");
        }
        return 0;
    }
    int rc = load(path, out, bytes, error, error_bytes);
    if (rc == 0 && (*bytes < 4 || memcmp(*out, "\xd0\x0d\xfe\xed", 4) != 0)) {
        free(*out);
        *out = NULL;
        rc = compile(path, out, bytes, error, error_bytes);
    }
    if (rc == 0 && manifest_check(*out, *bytes) != 0) {
        rc = error_say(error, error_bytes, -EINVAL,
                       "%s: is no manifest: expected a device tree with compatible = \"%s\"", path,
                       COMPATIBLE);
    }
    return rc;
}

int manifest_compose(const struct image_plan *plan, const char *identity, void **out, size_t *bytes,
                     char *error, size_t error_bytes)
{
    void *given = NULL, *tree = NULL;
    size_t given_bytes = 0;
    int rc = base(plan->manifest, &given, &given_bytes, error, error_bytes);
    if (rc == 0) {
        size_t room = given_bytes + ROOM;
        tree = calloc(1, room);
        if (tree == NULL || fdt_open_into(given, tree, (int)room) != 0) {
            rc = error_say(error, error_bytes, -ENOMEM, "no memory for the manifest");
        }
    }
    for (size_t i = 0; i < plan->setting_count && rc == 0; i++) {
        rc = apply(tree, plan->settings[i], error, error_bytes);
    }
    if (rc == 0) {
        int model = fdt_subnode_offset(tree, 0, "model");
        if (model < 0 || fdt_getprop(tree, model, "identity", NULL) == NULL) {
            char setting[MOST_WORD];
            snprintf(setting, sizeof setting, "model.identity=%s", identity);
            rc = apply(tree, setting, error, error_bytes);
        }
    }
    if (rc == 0 && fdt_pack(tree) != 0) {
        rc = error_say(error, error_bytes, -EINVAL, "the manifest cannot be packed");
    }
    free(given);
    if (rc) {
        free(tree);
        return rc;
    }
    *out = tree;
    *bytes = fdt_totalsize(tree);
    return 0;
}

void manifest_facts(const void *dtb, struct image_facts *out)
{
    int length;
    if (manifest_check(dtb, out->manifest_bytes) != 0) {
        return;
    }
    int http = fdt_subnode_offset(dtb, 0, "http");
    const void *port = http < 0 ? NULL : fdt_getprop(dtb, http, "port", &length);
    if (port != NULL && length == 4) {
        fdt32_t value;
        memcpy(&value, port, sizeof value);
        out->http_port = fdt32_to_cpu(value);
    }
    out->has_key = http >= 0 && fdt_getprop(dtb, http, "key", NULL) != NULL;
    const char *name = fdt_getprop(dtb, 0, "guest-name", &length);
    if (name != NULL && length > 1 && (size_t)length <= sizeof out->guest_name &&
        name[length - 1] == 0 &&
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
            (size_t)length - 1) {
        memcpy(out->guest_name, name, (size_t)length);
    }
}
