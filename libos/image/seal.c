// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The machine's own record, and what is held against it before the manifest is read.
#include "libos/image/seal.h"
#include "libos/image.h"
#include "libos/log.h"
#include "libos/manifest.h"
#include "libos/sha256.h"
#include "platform/boot.h"
#include "platform/power.h"
#include "platform/time.h"

#include <string.h>

static struct image_record record; // written by image_seal on the boot CPU, constant afterwards
static bool sealed;

const struct image_record *image_record(void)
{
    return sealed ? &record : NULL;
}

static const struct boot_file *own_file(const char *name)
{
    for (size_t i = 0; i < boot_file_count(); i++) {
        const struct boot_file *f = boot_file_at(i);
        if (f->origin == BOOT_FILE_IMAGE && strcmp(f->name, name) == 0) {
            return f;
        }
    }
    return NULL;
}

// All trees from outside are checked: one that is not read would be an intention that is lost.
static const struct boot_file *only_manifest(const struct boot_file *own_record)
{
    const struct boot_file *found = NULL;
    for (size_t i = 0; i < boot_file_count(); i++) {
        const struct boot_file *f = boot_file_at(i);
        uint8_t hash[32];
        if (f->kind != BOOT_FILE_DTB || f == own_record) {
            continue;
        }
        sha256(f->data, f->bytes, hash);
        if (memcmp(hash, record.manifest_sha256, sizeof hash) != 0) {
            pf_panic("refused: the manifest (%s, %zu bytes) is not the one this image is sealed "
                     "with: its SHA-256 begins with %02x%02x%02x%02x, not %02x%02x%02x%02x",
                     f->name, f->bytes, hash[0], hash[1], hash[2], hash[3],
                     record.manifest_sha256[0], record.manifest_sha256[1],
                     record.manifest_sha256[2], record.manifest_sha256[3]);
        }
        found = f;
    }
    if (found == NULL) {
        pf_panic("refused: this image is sealed with a manifest and there is none");
    }
    return found;
}

const struct boot_file *image_seal(void)
{
    const struct pf_boot_info *boot = pf_boot_info();
    char error[160];
    if (boot->image_module == 0) {
        return NULL;
    }
    const struct boot_file *own = own_file("image.dtb");
    if (own == NULL) {
        pf_panic("refused: the image's payload has no record (image.dtb); build the image again");
    }
    if (image_record_parse(own->data, own->bytes, &record, error, sizeof error) != 0) {
        pf_panic("refused: %s", error);
    }
    if (boot->refused[0] != '\0') {
        pf_panic("refused: this image is sealed and takes no settings from the command line: take "
                 "\"%s\" away, or build the image with it (tessera image build --set)",
                 boot->refused);
    }
    if (boot->dropped[0] != '\0') {
        log_warn("boot", "this image is sealed: \"%s\" on the command line has no effect",
                 boot->dropped);
    }
    sealed = true;
    return only_manifest(own);
}

size_t image_require_model(const void *data, size_t bytes, const char *source)
{
    char error[300];
    size_t content;
    uint64_t begun = pf_now_ns();
    PF_ASSERT(sealed);
    if (image_check_model(&record, data, bytes, &content, error, sizeof error) != 0) {
        pf_panic("%s (%s)", error, source);
    }
    uint64_t us = (pf_now_ns() - begun) / 1000 + 1;
    log_info("image", "the model is the sealed one: %llu KB checked at %llu MB/s",
             (unsigned long long)(content >> 10), (unsigned long long)(content / us));
    return content;
}
