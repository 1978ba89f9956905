// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as a console: what passes holds no escape sequence but those that draw.
//
// Links: hypercall/host/talk/filter.c
#include "hypercall/host/talk/filter.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct filter f = {0};
    char *shown = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&shown, &length);
    if (!out) {
        return 0;
    }
    filter_print(&f, out, (const char *)data, bytes);
    fclose(out);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)shown[i];
        if (c == 0x1b) {
            size_t n = 2;
            if (i + 1 >= length || shown[i + 1] != '[') {
                abort();
            }
            while (i + n < length && shown[i + n] < 0x40) {
                n++;
            }
            if (i + n >= length || !strchr("ABCDEFGHJKLMPSTX@dfmhl", shown[i + n])) {
                abort();
            }
        } else if ((c < 0x20 && !strchr("\n\r\t\b\a", c)) || c == 0x7f) {
            abort();
        }
    }
    free(shown);
    return 0;
}
