// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a file is, and where in it everything stands.
#include "hypercall/host/base/error.h"
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RECORD = 64 << 10, MOST_MANIFEST = 1 << 20, MOST_SBOM = 16 << 20, SPARE = 16 << 20 };

static const char *const kinds[] = {"pvh", "uefi", "raw", "qcow2"};

const char *image_kind_name(enum image_kind kind)
{
    return kinds[kind];
}

bool image_kind_parse(const char *name, enum image_kind *out)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i], name) == 0) {
            *out = (enum image_kind)i;
            return true;
        }
    }
    return false;
}

static int open_pe(struct image_opened *o, const struct image_view *v, const char **why)
{
    int rc = pe_read(v, &o->pe, why);
    if (rc) {
        return rc;
    }
    o->sbom = o->pe.sbom;
    return elf_read(v, o->pe.kernel.at, o->pe.kernel.bytes, &o->elf, why);
}

static int open_kind(struct image_opened *o, const char **why)
{
    uint8_t head[8] = {0};
    if (o->source.bytes < 512 || source_read_file(&o->source, 0, head, sizeof head) != 0) {
        *why = "is too small for an image";
        return -ENOEXEC;
    }
    if (memcmp(head, "GGUF", 4) == 0) {
        *why = "is a model (GGUF), no image";
        return -ENOEXEC;
    }
    o->whole = (struct image_view){.source = &o->source, .bytes = o->source.bytes};
    if (memcmp(head,
               "\x7f"
               "ELF",
               4) == 0) {
        o->kind = IMAGE_PVH;
        int rc = elf_read(&o->whole, 0, o->whole.bytes, &o->elf, why);
        o->sbom = o->elf.sbom;
        return rc;
    }
    if (head[0] == 'M' && head[1] == 'Z') {
        o->kind = IMAGE_UEFI;
        return open_pe(o, &o->whole, why);
    }
    o->kind = IMAGE_RAW;
    if (memcmp(head, "QFI\xfb", 4) == 0) {
        o->kind = IMAGE_QCOW2;
        int rc = qcow2_open(&o->source, why);
        if (rc) {
            return rc == -ENOTSUP ? -ENOEXEC : rc;
        }
        o->whole.bytes = o->source.bytes;
    }
    int rc = disk_read(&o->source, &o->disk, why);
    return rc ? rc : open_pe(o, &o->disk.efi, why);
}

static int whole_of(const struct image_view *v, struct image_part *out)
{
    return v->bytes ? part_of(v, 0, v->bytes, out) : 0;
}

static int open_payload(struct image_opened *o, const char **why)
{
    const struct image_part *payload = o->kind == IMAGE_PVH ? &o->elf.payload : &o->pe.payload;
    void *record;
    if (payload->bytes == 0) {
        return 0;
    }
    int rc = payload_read(payload, &o->payload, why);
    if (rc) {
        return rc;
    }
    *why = "has a damaged record";
    if (part_load(&o->payload.record, MOST_RECORD, &record) != 0) {
        return -EINVAL;
    }
    rc = image_record_read(record, (size_t)o->payload.record.bytes, &o->record);
    free(record);
    if (rc) {
        return rc;
    }
    o->sealed = true;
    o->manifest = o->payload.manifest;
    o->model = o->payload.model;
    if (o->manifest.bytes == 0) {
        rc = whole_of(&o->disk.manifest, &o->manifest);
    }
    if (rc == 0 && o->model.bytes == 0) {
        rc = whole_of(&o->disk.model, &o->model);
    }
    return rc;
}

int image_open(const char *path, struct image_opened *o, char *error, size_t error_bytes)
{
    const char *why = "is no image";
    if (path != NULL) {
        memset(o, 0, sizeof *o);
        int rc = source_open(path, &o->source, error, error_bytes);
        if (rc) {
            return rc;
        }
    }
    int rc = open_kind(o, &why);
    rc = rc ? rc : open_payload(o, &why);
    if (rc) {
        image_close(o);
        return error_say(error, error_bytes, rc, "%s: %s", path ? path : "memory", why);
    }
    return 0;
}

void image_close(struct image_opened *o)
{
    disk_facts_free(&o->disk);
    if (o->source.fd >= 0) {
        source_close(&o->source);
    }
    free(o->source.qcow2);
    o->source.qcow2 = NULL;
}

static void copy_text(const json_t *object, const char *name, char *out, size_t room)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (text != NULL && strlen(text) < room && text[strcspn(text, "\n\r\x1b\x7f")] == 0) {
        strcpy(out, text);
    }
}

static void read_sbom(struct image_facts *out)
{
    json_t *root = json_loadb(out->sbom, out->sbom_bytes, 0, NULL);
    const json_t *component = json_object_get(json_object_get(root, "metadata"), "component");
    copy_text(component, "name", out->kernel_name, sizeof out->kernel_name);
    copy_text(component, "version", out->kernel_version, sizeof out->kernel_version);
    json_decref(root);
}

int image_describe(const struct image_opened *o, struct image_facts *out, const char *path,
                   char *error, size_t error_bytes)
{
    void *loaded;
    memset(out, 0, sizeof *out);
    out->kind = o->kind;
    out->file_bytes = o->source.file_bytes;
    memcpy(out->build_id, o->elf.build_id, sizeof out->build_id);
    out->is_signed = o->kind != IMAGE_PVH && o->pe.certificate_bytes > 0;
    out->http_port = 80;
    out->memory_bytes = o->elf.end_vaddr + (2ull << 20) + SPARE;
    int rc = 0;
    if (o->sbom.bytes && (rc = part_load(&o->sbom, MOST_SBOM, &loaded)) == 0) {
        out->sbom = loaded;
        // The section's end is padding.
        out->sbom_bytes = strlen(out->sbom);
        read_sbom(out);
    }
    if (rc == 0 && o->sealed) {
        const struct image_record_facts *r = &o->record;
        out->sealed = true;
        memcpy(out->manifest_sha256, r->manifest_sha256, 32);
        memcpy(out->model_sha256, r->model_sha256, 32);
        out->model_bytes = r->model_bytes;
        memcpy(out->model_name, r->model_name, sizeof out->model_name);
        memcpy(out->model_identity, r->model_identity, sizeof out->model_identity);
        out->has_model = o->model.bytes > 0;
        uint64_t top = o->elf.payload_phys + o->elf.payload_bytes;
        uint64_t inside = o->kind == IMAGE_PVH ? 0 : o->pe.payload.bytes + o->disk.model.bytes;
        out->memory_bytes = (top > out->memory_bytes ? top : out->memory_bytes) + inside;
    }
    if (rc == 0 && o->manifest.bytes) {
        rc = part_load(&o->manifest, MOST_MANIFEST, &loaded);
        if (rc == 0) {
            out->has_manifest = true;
            out->manifest = loaded;
            out->manifest_bytes = (size_t)o->manifest.bytes;
            manifest_facts(loaded, out);
        }
    }
    if (rc) {
        image_facts_free(out);
        return error_say(error, error_bytes, rc, "%s: cannot be read whole: %s",
                         path ? path : "memory", strerror(-rc));
    }
    return 0;
}

int image_recognise(const char *path, struct image_facts *out, char *error, size_t error_bytes)
{
    struct image_opened o;
    memset(out, 0, sizeof *out);
    int rc = image_open(path, &o, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = image_describe(&o, out, path, error, error_bytes);
    image_close(&o);
    return rc;
}

void image_facts_free(struct image_facts *f)
{
    free(f->manifest);
    free(f->sbom);
    f->manifest = NULL;
    f->sbom = NULL;
}
