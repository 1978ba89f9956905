// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as an identity's text and as an entry of the cache of hashes: refused, or exactly what
// would have been written.
//
// Links: hypercall/host/store/text.c hypercall/host/store/cache.c
// Links: hypercall/host/store/folders.c
#include "hypercall/host/store/private.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct weights_identity id;
    char again[WEIGHTS_TEXT], entry[STORE_ENTRY], *text = malloc(bytes + 1);
    uint8_t hash[32];
    if (!text) {
        return 0;
    }
    memcpy(text, data, bytes);
    text[bytes] = 0;
    if (weights_identity_parse(text, &id) == 0) {
        weights_identity_text(&id, again);
        if (strcmp(again, text) != 0) {
            abort();
        }
    }
    free(text);
    struct weights_file f = {.content = 7};
    uint8_t *exact = malloc(bytes ? bytes : 1);
    if (!exact) {
        return 0;
    }
    memcpy(exact, data, bytes);
    if (hash_entry_read(&f, (const char *)exact, bytes, hash)) {
        hash_entry_write(&f, hash, entry);
        if (strlen(entry) != bytes || memcmp(entry, exact, bytes) != 0) {
            abort();
        }
    }
    free(exact);
    return 0;
}
