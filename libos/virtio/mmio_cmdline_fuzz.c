// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any command line: every accepted entry lies within the bounds that mmio_cmdline.h promises.
// Links: libos/virtio/mmio_cmdline.c
#include "libos/virtio/mmio_cmdline.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = 0;
    const char *at = text;
    struct mmio_entry e;
    int rc;
    while ((rc = mmio_cmdline_next(&at, &e)) != 0) {
        if (at > text + size || (rc == 1 && (e.bytes < 512 || e.bytes > 65536 || e.gsi > 1023 ||
                                             e.base > 1ull << 52))) {
            abort();
        }
    }
    free(text);
    return 0;
}
