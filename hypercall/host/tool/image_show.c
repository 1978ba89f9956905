// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What `tessera image inspect` prints.
#include "hypercall/host/base/hex.h"
#include "hypercall/host/tool/image.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static size_t components(const struct image_facts *f)
{
    json_t *root = f->sbom ? json_loadb(f->sbom, f->sbom_bytes, 0, NULL) : NULL;
    size_t count = json_array_size(json_object_get(root, "components"));
    json_decref(root);
    return count;
}

static void print_seal(const struct image_facts *f)
{
    char manifest[65], model[65];
    hex_write(f->manifest_sha256, 32, manifest);
    hex_write(f->model_sha256, 32, model);
    printf("model      %s, %.1f MB, %s\n", f->model_name[0] ? f->model_name : "without a name",
           (double)f->model_bytes / 1e6,
           f->has_model ? "inside" : "not inside: give it to the guest");
    printf("           sha256:%s\n", model);
    printf("manifest   %s\n", f->has_manifest ? "inside" : "not inside");
    printf("           sha256:%s\n", manifest);
}

static void print_text(const struct image_facts *f, const char *path, bool all)
{
    printf("image      %s: %s, %.1f MB\n", path, image_kind_name(f->kind),
           (double)f->file_bytes / 1e6);
    printf("kernel     %s %s, build %s\n", f->kernel_name[0] ? f->kernel_name : "unknown",
           f->kernel_version, f->build_id[0] ? f->build_id : "unknown");
    if (f->sealed) {
        print_seal(f);
    } else {
        printf("sealed     no: it takes any manifest, model and command line\n");
    }
    printf("signature  %s\n",
           f->is_signed ? "there is one (tessera image verify --cert checks it)" : "none");
    printf("memory     %llu MB at least%s\n", (unsigned long long)(f->memory_bytes >> 20) + 1,
           f->kind == IMAGE_PVH ? "" : ", beside the firmware's");
    if (!all) {
        return;
    }
    printf("serves     on port %u%s\n", f->http_port, f->has_key ? ", API key required" : "");
    printf("linked     %zu components (--sbom)\n", components(f));
    char *text = f->manifest ? image_manifest_text(f->manifest, f->manifest_bytes) : NULL;
    if (text) {
        printf("\n%s", text);
    }
    free(text);
}

static json_t *text_or_null(const char *text)
{
    json_t *value = text && text[0] ? json_string(text) : NULL;
    return value ? value : json_null();
}

static int print_json(const struct image_facts *f, const char *path)
{
    char manifest_hash[65], model_hash[65];
    hex_write(f->manifest_sha256, 32, manifest_hash);
    hex_write(f->model_sha256, 32, model_hash);
    char *text = f->manifest ? image_manifest_text(f->manifest, f->manifest_bytes) : NULL;
    json_t *seal =
        !f->sealed ? json_null()
                   : json_pack("{s:s, s:s, s:I}", "manifest_sha256", manifest_hash, "model_sha256",
                               model_hash, "model_bytes", (json_int_t)f->model_bytes);
    json_t *sbom = f->sbom ? json_loadb(f->sbom, f->sbom_bytes, 0, NULL) : NULL;
    json_t *root = json_pack(
        "{s:o, s:s, s:I, s:{s:o, s:o, s:o}, s:o, s:{s:o, s:o, s:b}, s:{s:b, s:o}, s:b, s:i, s:b, "
        "s:o, s:I, s:o}",
        "path", text_or_null(path), "kind", image_kind_name(f->kind), "bytes",
        (json_int_t)f->file_bytes, "kernel", "name", text_or_null(f->kernel_name), "version",
        text_or_null(f->kernel_version), "build_id", text_or_null(f->build_id), "sealed", seal,
        "model", "name", text_or_null(f->model_name), "identity", text_or_null(f->model_identity),
        "inside", (int)f->has_model, "manifest", "inside", (int)f->has_manifest, "text",
        text_or_null(text), "signed", (int)f->is_signed, "http_port", (int)f->http_port,
        "key_required", (int)f->has_key, "guest_name", text_or_null(f->guest_name), "memory_bytes",
        (json_int_t)f->memory_bytes, "sbom", sbom ? sbom : json_null());
    free(text);
    if (!root || json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) != 0) {
        json_decref(root);
        return tool_fail("no memory");
    }
    json_decref(root);
    putchar('\n');
    return TOOL_OK;
}

int image_show(const char *path, enum image_show how)
{
    struct image_facts f;
    char error[900], *text = NULL;
    int status = TOOL_OK;
    if (image_recognise(path, &f, error, sizeof error)) {
        return tool_fail("%s", error);
    }
    switch (how) {
    case IMAGE_SHOW_BRIEF:
    case IMAGE_SHOW_ALL:
        print_text(&f, path, how == IMAGE_SHOW_ALL);
        break;
    case IMAGE_SHOW_JSON:
        status = print_json(&f, path);
        break;
    case IMAGE_SHOW_SBOM:
        status = f.sbom ? TOOL_OK : tool_fail("%s: has no bill of materials", path);
        if (f.sbom) {
            fwrite(f.sbom, 1, f.sbom_bytes, stdout);
        }
        break;
    case IMAGE_SHOW_MANIFEST:
        text = f.manifest ? image_manifest_text(f.manifest, f.manifest_bytes) : NULL;
        status = text ? TOOL_OK : tool_fail("%s: has no sound manifest inside", path);
        fputs(text ? text : "", stdout);
        free(text);
        break;
    }
    image_facts_free(&f);
    return status;
}
