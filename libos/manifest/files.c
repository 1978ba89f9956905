// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The machine's boot files (modules of the loader, files linked into the image) and its manifest.
#include "libos/image.h"
#include "libos/image/seal.h"
#include "libos/log.h"
#include "libos/manifest/collect.h"

#include "platform/boot.h"
#include "platform/host_file.h"
#include "platform/paging.h"
#include "platform/power.h"

#include <errno.h>
#include <string.h>

// Set by the image builder when a file is linked in (make image MODEL=… LINK=1).
extern const char boot_linked_start[] __attribute__((weak));
extern const char boot_linked_end[] __attribute__((weak));

// Written by boot_files_init and manifest_init on the boot CPU, constant afterwards.
static struct boot_files files;
static struct manifest machine_manifest;
static bool initialised;

size_t boot_file_count(void)
{
    return files.count;
}

const struct boot_file *boot_file_at(size_t i)
{
    return i < files.count ? &files.file[i] : NULL;
}

const struct boot_file *boot_file_find(const char *name)
{
    for (size_t i = 0; i < files.count; i++) {
        if (strcmp(files.file[i].name, name) == 0) {
            return &files.file[i];
        }
    }
    return NULL;
}

const struct boot_file *boot_file_first(enum boot_file_kind kind)
{
    for (size_t i = 0; i < files.count; i++) {
        if (files.file[i].kind == kind) {
            return &files.file[i];
        }
    }
    return NULL;
}

void boot_files_init(void)
{
    const struct pf_boot_info *boot = pf_boot_info();
    char error[160];
    for (uint32_t i = 0; i < boot->module_count; i++) {
        const struct pf_module *m = &boot->modules[i];
        const void *data = pf_phys_to_virt(m->base);
        if (m->length == 0 || pf_virt_to_phys(data) != m->base ||
            pf_virt_to_phys((const char *)data + m->length - 1) != m->base + m->length - 1) {
            log_error("boot", "module %u at %llx, %llu bytes, is not in RAM", i,
                      (unsigned long long)m->base, (unsigned long long)m->length);
            continue;
        }
        enum boot_file_origin origin =
            i + 1 == boot->image_module ? BOOT_FILE_IMAGE : BOOT_FILE_MODULE;
        if (boot_files_add(&files, data, m->length, origin, error, sizeof(error)) != 0) {
            // It may have held the manifest: going on without would open what a key was to guard.
            pf_panic("boot module %u: %s", i, error);
        }
        // An archive's files are other pointers.
        const struct boot_file *last = boot_file_at(files.count - 1);
        if (last && last->data == data && last->kind == BOOT_FILE_OTHER) {
            pf_panic("boot module %u, %llu bytes, is no GGUF, device tree or newc archive", i,
                     (unsigned long long)m->length);
        }
    }
    // Through volatile, or the compiler takes the address of an object for never NULL.
    const char *volatile start = boot_linked_start, *volatile end = boot_linked_end;
    const char *from = start, *to = end;
    if (from && to > from &&
        boot_files_add(&files, from, (size_t)(to - from), BOOT_FILE_LINKED, error, sizeof(error)) !=
            0) {
        log_error("boot", "linked file: %s", error);
    }
    for (size_t i = 0; i < files.count; i++) {
        log_debug("boot", "file %s, %zu bytes, %s", files.file[i].name, files.file[i].bytes,
                  files.file[i].origin == BOOT_FILE_LINKED  ? "linked in"
                  : files.file[i].origin == BOOT_FILE_IMAGE ? "from the image"
                                                            : "from a module");
    }
}

const struct manifest *manifest(void)
{
    PF_ASSERT(initialised);
    return &machine_manifest;
}

// Whatever is wrong with it ends the machine: going on would open what the key was to guard.
static void take_host_key(void)
{
    char text[sizeof machine_manifest.http_key], error[160];
    size_t bytes;
    int rc = pf_host_file(MANIFEST_HOST_KEY, text, sizeof text, &bytes);
    if (rc == -ENOENT) {
        return;
    }
    if (image_record() != NULL) {
        pf_panic("refused: this image is sealed and takes no API key from the host (%s): take it "
                 "away, or build the image with it (tessera image build --set)",
                 MANIFEST_HOST_KEY);
    }
    if (rc) {
        pf_panic(rc == -EFBIG ? "%s: longer than %zu characters" : "%s: cannot be read",
                 MANIFEST_HOST_KEY, sizeof machine_manifest.http_key - 1);
    }
    if (manifest_set_host_key(&machine_manifest, text, bytes, error, sizeof error) != 0) {
        pf_panic("%s", error);
    }
    memset(text, 0, sizeof text);
}

void manifest_init(void)
{
    char error[256] = "";
    const struct boot_file *dtb = image_seal();
    if (dtb == NULL) {
        dtb = boot_file_find("manifest.dtb");
    }
    if (dtb == NULL) {
        dtb = boot_file_first(BOOT_FILE_DTB);
    }
    if (manifest_parse(dtb ? dtb->data : NULL, dtb ? dtb->bytes : 0, pf_boot_info()->cmdline,
                       &machine_manifest, error, sizeof(error)) != 0) {
        pf_panic("%s", error);
    }
    take_host_key();
    initialised = true;
    if (machine_manifest.unknown[0]) {
        log_warn("manifest", "command line: %s is no key of the manifest",
                 machine_manifest.unknown);
    }
}
