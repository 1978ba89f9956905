// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `image build`: from a generic kernel, a model and a manifest to one bootable file.
#include "hypercall/host/base/error.h"
#include "hypercall/host/image/private.h"
#include "hypercall/host/image/sign.h"

#include "hypercall/host/store/weights.h"
#include "tensor/gguf.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_PATH = 4096 };

struct job {
    const struct image_plan *plan;
    struct image_source kernel, model;
    struct image_opened generic; // the kernel, opened as an image
    struct image_record_facts record;
    struct stat model_status;
    void *record_dtb, *manifest;
    size_t record_bytes, manifest_bytes;
    struct keep keep;
    char part[MOST_PATH], signed_part[MOST_PATH]; // temporary files, "" none
    char *error;
    size_t error_bytes;
};
#define FAIL(j, rc, ...) error_say((j)->error, (j)->error_bytes, rc, __VA_ARGS__)

// ---- the model ---------------------------------------------------------------------------------

static void name_model(struct job *j, const struct gguf *g)
{
    struct gguf_string name;
    char path[MOST_PATH];
    if (gguf_str(g, "general.name", &name) == 0 && name.bytes > 0 &&
        name.bytes < sizeof j->record.model_name) {
        memcpy(j->record.model_name, name.data, (size_t)name.bytes);
    } else {
        snprintf(path, sizeof path, "%s", j->plan->model);
        snprintf(j->record.model_name, sizeof j->record.model_name, "%.90s", basename(path));
    }
}

static int read_model(struct job *j)
{
    const char *path = j->plan->model;
    char why[300] = "";
    struct gguf *g;
    int rc = source_open(path, &j->model, j->error, j->error_bytes);
    if (rc) {
        return rc;
    }
    if (fstat(j->model.fd, &j->model_status) != 0) {
        return FAIL(j, -errno, "%s: %s", path, strerror(errno));
    }
    size_t bytes = (size_t)j->model.bytes;
    void *map = bytes ? mmap(NULL, bytes, PROT_READ, MAP_SHARED, j->model.fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED) {
        return FAIL(j, -EINVAL, "%s: is empty or cannot be mapped", path);
    }
    uint64_t shards = 1, packed = 0;
    rc = gguf_open(map, bytes, &g, why, sizeof why);
    if (rc == 0) {
        j->record.model_bytes = weights_content_bytes(g, bytes);
        name_model(j, g);
        (void)gguf_u64(g, "split.count", &shards);
        (void)gguf_u64(g, "tessera.packed.version", &packed);
        gguf_close(g);
    }
    munmap(map, bytes);
    if (rc) {
        return FAIL(j, rc, "%s: %s", path, why);
    }
    if (shards > 1) {
        return FAIL(j, -ENOTSUP,
                    "%s: is one file of %llu; an image takes a model in one file "
                    "(tessera pack makes one)",
                    path, (unsigned long long)shards);
    }
    struct image_view v = {.source = &j->model, .bytes = j->model.bytes};
    struct image_part all = {&v, 0, v.bytes};
    struct weights_identity identity = {.packed_version = 0};
    rc = part_sha256(&all, j->record.model_bytes, j->record.model_sha256);
    if (rc) {
        return FAIL(j, rc, "%s: cannot be read: %s", path, strerror(-rc));
    }
    memcpy(identity.sha256, j->record.model_sha256, sizeof identity.sha256);
    if (packed) {
        rc = weights_identity(path, NULL, &identity, j->error, j->error_bytes);
    }
    if (rc == 0) {
        weights_identity_text(&identity, j->record.model_identity);
    }
    return rc;
}

// What was hashed must be what was copied.
static int model_unchanged(struct job *j)
{
    struct stat now;
    const struct stat *was = &j->model_status;
    if (fstat(j->model.fd, &now) != 0 || now.st_size != was->st_size ||
        now.st_mtim.tv_sec != was->st_mtim.tv_sec || now.st_mtim.tv_nsec != was->st_mtim.tv_nsec) {
        return FAIL(j, -ESTALE, "%s: was changed while it was read; try again when it is whole",
                    j->plan->model);
    }
    return 0;
}

// ---- the pieces --------------------------------------------------------------------------------

static int open_kernel(struct job *j)
{
    const char *path = j->plan->kernel;
    bool wants_pvh = j->plan->kind == IMAGE_PVH;
    int rc = image_open(path, &j->generic, j->error, j->error_bytes);
    if (rc) {
        return rc;
    }
    if (j->generic.sealed || j->generic.pe.certificate_bytes) {
        return FAIL(j, -EINVAL, "%s: is sealed or signed already; start from the generic %s", path,
                    wants_pvh ? "llm.elf" : "llm.efi");
    }
    if ((j->generic.kind == IMAGE_PVH) != wants_pvh || j->generic.kind > IMAGE_UEFI) {
        return FAIL(j, -EINVAL, "%s: is a %s image; this format is made from %s", path,
                    image_kind_name(j->generic.kind), wants_pvh ? "llm.elf" : "llm.efi");
    }
    return source_open(path, &j->kernel, j->error, j->error_bytes);
}

static int make_record(struct job *j)
{
    struct image_view v = {0};
    struct image_source memory = {.fd = -1};
    int rc = manifest_compose(j->plan, j->record.model_identity, &j->manifest, &j->manifest_bytes,
                              j->error, j->error_bytes);
    if (rc) {
        return rc;
    }
    memory.memory = j->manifest;
    memory.bytes = j->manifest_bytes;
    v.source = &memory;
    v.bytes = memory.bytes;
    struct image_part all = {&v, 0, v.bytes};
    rc = part_sha256(&all, all.bytes, j->record.manifest_sha256);
    rc = rc ? rc : image_record_make(&j->record, &j->record_dtb, &j->record_bytes);
    return rc ? FAIL(j, rc, "the image's record cannot be made: %s", strerror(-rc)) : 0;
}

static int too_large(struct job *j, int rc)
{
    if (rc == -EFBIG) {
        return FAIL(j, rc,
                    "%s: %llu MB are too much for this format (UEFI: 2 GB, a file on a disk: "
                    "4 GB); --model-outside seals the image to the model without having it inside",
                    j->plan->model, (unsigned long long)(j->record.model_bytes >> 20));
    }
    return rc ? FAIL(j, rc, "%s: cannot be put together: %s", j->plan->out, strerror(-rc)) : 0;
}

static int write_rope(struct job *j, const struct rope *r, const char *path)
{
    int rc = rope_write(r, path);
    rc = rc ? FAIL(j, rc, "%s: cannot be written: %s", path, strerror(-rc)) : model_unchanged(j);
    return rc;
}

// Payloads for PVH and UEFI have the model inside; a disk has both as files.
static int make_payload(struct job *j, struct rope *r)
{
    bool disk = j->plan->kind == IMAGE_RAW || j->plan->kind == IMAGE_QCOW2;
    int model = disk || j->plan->model_outside ? -1 : j->model.fd;
    return too_large(j, payload_make(r, &j->keep, j->record_dtb, j->record_bytes,
                                     disk ? NULL : j->manifest, j->manifest_bytes, model,
                                     j->record.model_bytes));
}

// ---- the formats -------------------------------------------------------------------------------

static int build_pvh(struct job *j, const struct rope *payload)
{
    struct rope r = {.count = 0};
    int rc = too_large(
        j, elf_make(&r, &j->keep, j->kernel.fd, j->kernel.bytes, &j->generic.elf, payload));
    return rc ? rc : write_rope(j, &r, j->plan->out);
}

// The application, signed if it is to be, at `path`.
static int build_application(struct job *j, const struct rope *payload, const char *path)
{
    struct rope r = {.count = 0};
    int rc = too_large(j, pe_make(&r, &j->keep, j->kernel.fd, &j->generic.pe, payload));
    if (rc || !j->plan->key) {
        return rc ? rc : write_rope(j, &r, path);
    }
    rc = image_temporary(path, j->part, sizeof j->part);
    if (rc) {
        return FAIL(j, rc, "%s: %s", path, strerror(-rc));
    }
    rc = write_rope(j, &r, j->part);
    return rc ? rc
              : sign_application(j->part, path, j->plan->key, j->plan->cert, j->error,
                                 j->error_bytes);
}

static int write_disk(struct job *j, const struct rope *r)
{
    if (j->plan->kind == IMAGE_RAW) {
        return write_rope(j, r, j->plan->out);
    }
    char raw[MOST_PATH];
    int rc = image_temporary(j->plan->out, raw, sizeof raw);
    if (rc) {
        return FAIL(j, rc, "%s: %s", j->plan->out, strerror(-rc));
    }
    rc = write_rope(j, r, raw);
    rc = rc ? rc : disk_to_qcow2(raw, j->plan->out, j->error, j->error_bytes);
    unlink(raw);
    return rc;
}

static int build_disk(struct job *j, const struct rope *payload)
{
    struct rope disk = {.count = 0}, efi = {.count = 0}, manifest = {.count = 0},
                model = {.count = 0};
    struct image_source application;
    int rc = image_temporary(j->plan->out, j->signed_part, sizeof j->signed_part);
    if (rc) {
        return FAIL(j, rc, "%s: %s", j->plan->out, strerror(-rc));
    }
    rc = build_application(j, payload, j->signed_part);
    rc = rc ? rc : source_open(j->signed_part, &application, j->error, j->error_bytes);
    if (rc) {
        return rc;
    }
    rope_file(&efi, application.fd, 0, application.bytes);
    rope_memory(&manifest, j->manifest, j->manifest_bytes);
    rope_file(&model, j->model.fd, 0, j->record.model_bytes);
    rc = too_large(
        j, disk_make(&disk, &j->keep, &efi, &manifest, j->plan->model_outside ? NULL : &model));
    rc = rc ? rc : write_disk(j, &disk);
    source_close(&application);
    return rc;
}

int image_build(const struct image_plan *plan, char *error, size_t error_bytes)
{
    struct job j = {.plan = plan,
                    .kernel.fd = -1,
                    .model.fd = -1,
                    .generic.source.fd = -1,
                    .error = error,
                    .error_bytes = error_bytes};
    struct rope payload = {.count = 0};
    int rc = open_kernel(&j);
    rc = rc ? rc : read_model(&j);
    rc = rc ? rc : make_record(&j);
    rc = rc ? rc : make_payload(&j, &payload);
    if (rc == 0) {
        rc = plan->kind == IMAGE_PVH    ? build_pvh(&j, &payload)
             : plan->kind == IMAGE_UEFI ? build_application(&j, &payload, plan->out)
                                        : build_disk(&j, &payload);
    }
    if (j.part[0]) {
        unlink(j.part);
    }
    if (j.signed_part[0]) {
        unlink(j.signed_part);
    }
    image_close(&j.generic);
    source_close(&j.kernel);
    source_close(&j.model);
    free(j.record_dtb);
    free(j.manifest);
    keep_free(&j.keep);
    return rc;
}
