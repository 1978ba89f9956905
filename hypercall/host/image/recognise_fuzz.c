// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as an image. The first byte says how: 0, the file itself; otherwise the bytes are an
// EFI system partition, and what stands around it on a disk is put there.
// Links: hypercall/host/image/open.c hypercall/host/image/source.c hypercall/host/image/qcow2.c
// Links: hypercall/host/image/elf.c hypercall/host/image/pe.c hypercall/host/image/payload.c
// Links: hypercall/host/image/record.c hypercall/host/image/rope.c
// Links: hypercall/host/image/disk_read.c hypercall/host/image/manifest.c
// Links: hypercall/host/image/manifest_text.c hypercall/host/image/program.c
// Libs: -lfdt -ljansson -lmbedcrypto
#include "hypercall/host/image/disk.h"
#include "hypercall/host/image/private.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST = 40 }; // sector of the partition

static uint8_t *make_disk(const uint8_t *data, size_t size, size_t *bytes)
{
    size_t sectors = FIRST + size / SECTOR;
    uint8_t *disk = calloc(sectors, SECTOR), *header = disk + SECTOR, *entry = header + SECTOR;
    memcpy(header, "EFI PART", 8);
    put64(header + 72, 2);
    put32(header + 80, 4);
    put32(header + 84, GPT_ENTRY_BYTES);
    memcpy(entry, ESP_TYPE, 16);
    put64(entry + 32, FIRST);
    put64(entry + 40, sectors - 1);
    memcpy(disk + (size_t)FIRST * SECTOR, data, size / SECTOR * SECTOR);
    *bytes = sectors * SECTOR;
    return disk;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_opened o = {.source.fd = -1};
    struct image_facts f;
    char error[300] = "";
    uint8_t *copy;
    if (size < 1) {
        return 0;
    }
    o.source.bytes = size - 1;
    if (data[0] == 0) {
        copy = malloc(size);
        memcpy(copy, data + 1, size - 1);
    } else {
        size_t bytes;
        copy = make_disk(data + 1, size - 1, &bytes);
        o.source.bytes = bytes;
    }
    o.source.file_bytes = o.source.bytes;
    o.source.memory = copy;
    int rc = image_open(NULL, &o, error, sizeof error);
    if ((rc != 0) != (error[0] != 0)) {
        abort();
    }
    if (rc == 0) {
        if (image_describe(&o, &f, NULL, error, sizeof error) == 0) {
            if (f.model_name[strcspn(f.model_name, "\n\x1b")] ||
                f.kernel_name[strcspn(f.kernel_name, "\n\x1b")]) {
                abort();
            }
            char *text = f.manifest ? image_manifest_text(f.manifest, f.manifest_bytes) : NULL;
            if (text && text[strcspn(text, "\x1b\x7f")]) {
                abort(); // it is for terminals
            }
            free(text);
            image_facts_free(&f);
        }
        image_close(&o);
    }
    free(copy);
    return 0;
}
