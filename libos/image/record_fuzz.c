// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as a sealed image's record.
// Links: libos/image/record.c libos/image/sha256.c libos/image/sha256_x86.c
// Libs: -lfdt
#include "libos/image.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_record r;
    char error[200] = "";
    int rc = image_record_parse(data, size, &r, error, sizeof error);
    if ((rc != 0) != (error[0] != '\0')) {
        abort();
    }
    return 0;
}
