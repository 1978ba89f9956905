// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a guest boots: our kernel beside this program and a model apart, or one image with all in
// it.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/image/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum kind { KIND_OTHER, KIND_ELF, KIND_PE, KIND_RAW, KIND_QCOW2 };

// By the bytes that it begins with; a negative errno where it cannot be read.
static int look(const char *path, enum kind *kind)
{
    unsigned char head[520] = {0};
    struct stat status;
    *kind = KIND_OTHER;
    FILE *f = fopen(path, "re");
    if (!f) {
        return -errno;
    }
    int rc = fstat(fileno(f), &status) != 0 ? -errno : 0;
    if (!rc && S_ISREG(status.st_mode)) {
        size_t n = fread(head, 1, sizeof head, f);
        rc = n < sizeof head && ferror(f) ? -EIO : 0;
    }
    fclose(f);
    *kind = memcmp(head, "\177ELF", 4) == 0          ? KIND_ELF
            : memcmp(head, "MZ", 2) == 0             ? KIND_PE
            : memcmp(head, "QFI\373", 4) == 0        ? KIND_QCOW2
            : memcmp(head + 512, "EFI PART", 8) == 0 ? KIND_RAW
                                                     : KIND_OTHER;
    return rc;
}

// A sealed image has its settings in it: what is asked for must not need a command line.
static int take_seal(const struct guest_request *q, struct guest *g, const char *path,
                     enum kind kind, bool with_model, char *error, size_t error_bytes)
{
    char why[600];
    struct image_facts f;
    int rc = image_recognise(path, &f, why, sizeof why);
    // Somebody's own kernel or raw disk: libvirt and QEMU will say. What a qcow2 may name, files of
    // this user among it, would become the guest's.
    if (rc == -ENOEXEC && kind != KIND_QCOW2) {
        return 0;
    }
    if (rc) {
        return guest_refuse(error, error_bytes, rc == -EINVAL ? -ENOEXEC : rc, "%s", why);
    }
    const char *key = q->key_is_optional ? NULL : q->key;
    if (f.sealed && q->key_is_optional) {
        g->plan.key = NULL;
    }
    if (f.sealed && q->key_is_optional && f.has_key) {
        rc = guest_refuse(error, error_bytes, -EINVAL,
                          "%s has a key of its API in it, which a fleet's endpoint does not know: "
                          "build it without one (guests of a fleet listen on 127.0.0.1 alone; the "
                          "endpoint's keys keep others out)",
                          path);
    } else if (f.sealed && (key || q->settings || g->plan.offload)) {
        rc = guest_refuse(error, error_bytes, -EINVAL,
                          "%s has its settings in it (`tessera image inspect` shows them): %s "
                          "cannot be set on it",
                          path,
                          key           ? "--key"
                          : q->settings ? "settings"
                                        : "--offload");
    } else if (with_model && f.sealed && !f.has_model) {
        rc = guest_refuse(error, error_bytes, -EINVAL,
                          "%s wants the model %s beside it: `tessera run MODEL --image %s`", path,
                          f.model_name[0] ? f.model_name : "that it was made for", path);
    }
    g->plan.sealed = f.sealed;
    g->image_has_key = f.sealed && f.has_key;
    g->plan.guest_port = f.sealed && f.http_port != 80 ? f.http_port : 0;
    g->image_mb = f.sealed ? (uint32_t)(f.memory_bytes >> 20) + 1 : 0;
    image_facts_free(&f);
    return rc;
}

// The user's word for a model is an image that has one.
static int take_whole_image(const struct guest_request *q, struct guest *g, enum kind kind,
                            char *error, size_t error_bytes)
{
    struct stat status;
    if (q->image || q->weights || g->plan.offload) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "%s is an image that boots with its own model: no --image, --weights "
                            "or --offload with it",
                            q->model);
    }
    g->model_path = realpath(q->model, NULL);
    if (!g->model_path || stat(g->model_path, &status) != 0) {
        return guest_refuse(error, error_bytes, -errno, "%s: %s", q->model, strerror(errno));
    }
    g->plan.model = g->model_path;
    g->plan.weights = MACHINE_WEIGHTS_NONE;
    g->plan.mapped_bytes = (uint64_t)status.st_size; // is read into memory
    if (kind == KIND_ELF || kind == KIND_PE) {
        g->plan.image = g->model_path;
    } else {
        g->plan.disk = g->model_path;
        g->plan.disk_is_qcow2 = kind == KIND_QCOW2;
    }
    int rc = take_seal(q, g, g->model_path, kind, true, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (kind != KIND_ELF) {
        g->plan.boot = MACHINE_BOOT_UEFI;
    } else if (g->plan.boot == MACHINE_BOOT_UEFI) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "%s is no image for UEFI: it is an ELF file", q->model);
    }
    return 0;
}

int guest_find_image(const struct guest_host *h, const struct guest_request *q, struct guest *g,
                     char *error, size_t error_bytes)
{
    char beside[PATH_MAX + 32];
    bool uefi = g->plan.boot == MACHINE_BOOT_UEFI;
    enum kind kind;
    int rc = look(q->model, &kind);
    if (!rc && kind != KIND_OTHER) {
        return take_whole_image(q, g, kind, error, error_bytes);
    }
    snprintf(beside, sizeof beside, "%s/../images/llm.%s", h->programs, uefi ? "efi" : "elf");
    const char *path = q->image ? q->image : beside;
    g->image_path = realpath(path, NULL);
    rc = g->image_path ? look(g->image_path, &kind) : -errno;
    if (rc) {
        return guest_refuse(error, error_bytes, rc, "the guest's image %s: %s%s", path,
                            strerror(-rc),
                            q->image ? "" : " (`make` builds it; --image names another)");
    }
    if (kind != (uefi ? KIND_PE : KIND_ELF)) {
        return guest_refuse(error, error_bytes, -ENOEXEC,
                            "%s is no image for a guest%s: it is no %s file", path,
                            uefi ? " that UEFI boots" : "", uefi ? "PE" : "ELF");
    }
    g->plan.image = g->image_path;
    return q->image ? take_seal(q, g, g->image_path, kind, false, error, error_bytes) : 0;
}
