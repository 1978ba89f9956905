// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Arbitrary bytes as a device tree, and the same bytes as a command line.
// Links: libos/manifest/parse.c libos/manifest/keys.c libos/manifest/dtb.c libos/manifest/cmdline.c
// Links: libos/manifest/address.c
// Libs: -lfdt
#include "libos/manifest.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct manifest m;
    char error[256];
    manifest_parse(data, size, NULL, &m, error, sizeof(error));
    char *line = malloc(size + 1);
    memcpy(line, data, size);
    line[size] = '\0';
    if (manifest_parse(NULL, 0, line, &m, error, sizeof(error)) == 0 && m.net.address &&
        strlen(m.net.address) > 18) {
        abort(); // no valid address is that long
    }
    free(line);
    return 0;
}
