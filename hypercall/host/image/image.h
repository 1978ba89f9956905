// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Bootable images: one file with the kernel, a manifest, the SHA-256 of manifest and model, and as
// a rule the model itself (README.md has the layout). Files are judged as anybody's work: every
// length and offset in them is checked.
//
// Error handling: functions return 0 or a negative errno and then write a message for people, with
// the file's name, into `error`. Threads: any.
#ifndef TESSERA_IMAGE_IMAGE_H
#define TESSERA_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum image_kind { IMAGE_PVH, IMAGE_UEFI, IMAGE_RAW, IMAGE_QCOW2 };
const char *image_kind_name(enum image_kind kind); // "pvh", "uefi", "raw", "qcow2"
bool image_kind_parse(const char *name, enum image_kind *out);

// What an image contains. Pointers are the facts' own; image_facts_free frees them.
struct image_facts {
    enum image_kind kind;
    uint64_t file_bytes;
    char kernel_name[64], kernel_version[32]; // of the bill of materials; "" unknown
    char build_id[41];                        // hexadecimal; "" none
    bool is_signed; // has a signature; whether it is a good one says image_check_signature
    bool sealed;    // made by `image build`; what follows is for sealed images
    // From the record: what the guest will accept.
    uint8_t manifest_sha256[32], model_sha256[32];
    uint64_t model_bytes;
    char model_name[96], model_identity[96]; // printable; "" unknown
    // What is there. Where the model is not, the guest must be given the file (mapped or as a
    // disk).
    bool has_manifest, has_model;
    // From the manifest: what one must know to run it.
    uint32_t http_port;
    bool has_key;
    char guest_name[64];
    uint64_t memory_bytes; // the least that the guest needs to hold kernel and payload
    void *manifest;        // device tree, NULL if there is none
    size_t manifest_bytes;
    char *sbom; // CycloneDX JSON, NUL-terminated; NULL if there is none
    size_t sbom_bytes;
};
// To run one: IMAGE_PVH is a <kernel>; the others want OVMF as the loader, IMAGE_UEFI as the
// <kernel> beside it, disks as a disk. No command line (the guest would refuse it), the port from
// http_port, and without has_model the model's file mapped or as a disk. For a file that is not
// sealed the facts from the record and the manifest are empty. -ENOEXEC: no image of this project
// (`error` says what it is instead); -EINVAL: a damaged one; other errors of reading.
int image_recognise(const char *path, struct image_facts *out, char *error, size_t error_bytes);
void image_facts_free(struct image_facts *f);

struct image_plan {
    enum image_kind kind;
    const char *kernel;          // generic llm.elf for PVH, llm.efi for all others
    const char *model;           // GGUF, whole or packed
    const char *manifest;        // device tree, binary or source; NULL: an empty one
    const char *const *settings; // "section.name=value", over the manifest's
    size_t setting_count;
    bool model_outside;     // only its hash goes in
    const char *key, *cert; // PEM; both or none: sign the UEFI application
    const char *out;
};
// Makes plan->out, whole or not at all. Equal inputs give equal bytes (but for the signature, which
// holds its time).
int image_build(const struct image_plan *plan, char *error, size_t error_bytes);

// Only sealed images are signed. Signs the UEFI application in `in` (or in the disk `in`) and
// writes `out`, which may be `in`.
int image_sign(const char *in, const char *out, const char *key, const char *cert, char *error,
               size_t error_bytes);
// Whether the signature is good and by `cert`. -EKEYREJECTED if not, -ENOTSUP: of a PVH image.
int image_check_signature(const char *path, const char *cert, char *error, size_t error_bytes);
// Whether the manifest and the model are those of the record: the image's own, or the given files
// where they are not NULL. -EKEYREJECTED if not; -ENOENT: it is neither inside nor given.
int image_check_manifest(const char *path, const char *file, char *error, size_t error_bytes);
int image_check_model_file(const char *path, const char *file, char *error, size_t error_bytes);

// A device tree as source text, keys in it (`http/key`) masked. NULL: not a sound tree or no
// memory. The caller frees.
char *image_manifest_text(const void *dtb, size_t bytes);

#endif
