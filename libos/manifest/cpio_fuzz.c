// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Arbitrary bytes as a boot module; every file found must lie inside it.
// Links: libos/manifest/cpio.c libos/manifest/collect.c
#include "libos/manifest/collect.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct boot_files files;
    char error[160];
    files = (struct boot_files){0};
    boot_files_add(&files, data, size, BOOT_FILE_MODULE, error, sizeof(error));
    for (size_t i = 0; i < files.count; i++) {
        const uint8_t *at = files.file[i].data;
        if (at < data || files.file[i].bytes > size || at > data + size - files.file[i].bytes) {
            abort();
        }
    }
    return 0;
}
