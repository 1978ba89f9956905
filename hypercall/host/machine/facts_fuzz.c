// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any text as a domain's metadata, and any bytes as a console's: no read past the end, and nothing
// that a terminal would obey.
//
// Links: hypercall/host/machine/facts.c hypercall/host/machine/text.c
// Links: hypercall/host/machine/console.c
// Links: hypercall/host/store/folders.c
#include "hypercall/host/machine/console.h"
#include "hypercall/host/machine/machine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_plain(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct machine_facts f;
    char *text = malloc(bytes + 1), *shown = NULL;
    size_t shown_bytes = 0;
    if (!text) {
        return 0;
    }
    memcpy(text, data, bytes);
    text[bytes] = 0;
    if (machine_facts_parse(text, &f) == 0) {
        check_plain(f.model, strlen(f.model));
        check_plain(f.console_log, strlen(f.console_log));
        if (f.port > 65535) {
            abort();
        }
    }
    free(text);
    char *exact = malloc(bytes ? bytes : 1);
    FILE *out = open_memstream(&shown, &shown_bytes);
    if (exact && out) {
        memcpy(exact, data, bytes);
        console_print(out, exact, bytes);
    }
    if (out) {
        fclose(out);
        check_plain(shown, shown_bytes);
    }
    free(shown);
    free(exact);
    return 0;
}
