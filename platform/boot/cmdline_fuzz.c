// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any command line: what is found is a part of the line that fits the buffer.
// Links: platform/boot/cmdline.c
#include "platform/boot/cmdline.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"model", "protect", "debug-exit", "log", "a", ""};
    char *line = malloc(size + 1);
    memcpy(line, data, size);
    line[size] = '\0';
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        for (size_t room = 1; room <= 64; room *= 4) {
            char *value = malloc(room);
            int n = pf_cmdline_find(line, keys[k], value, room);
            if (n >= 0 && ((size_t)n >= room || strlen(value) != (size_t)n ||
                           strstr(line, value) == NULL || strstr(line, keys[k]) == NULL)) {
                abort();
            }
            if (n < 0 && n != -ENOENT && n != -ERANGE) {
                abort();
            }
            free(value);
        }
        (void)pf_cmdline_listed(line, keys[k], "wx");
        (void)pf_cmdline_listed(line, keys[k], "");
    }
    free(line);
    return 0;
}
