// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as a record, as libvirt's capabilities and as a domain's XML: no read past the end, and
// nothing that a terminal would obey.
//
// Links: hypercall/host/machine/record.c hypercall/host/machine/record_files.c
// Links: hypercall/host/machine/record_take.c hypercall/host/machine/facts.c
// Links: hypercall/host/machine/console.c hypercall/host/machine/text.c
// Links: hypercall/host/machine/host.c
// Links: hypercall/host/machine/watch.c
// Links: hypercall/host/hardware/permission.c
// Libs: -ljansson -lmbedcrypto -lvirt
#include "hypercall/host/machine/record.h"
#include "hypercall/host/machine/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct record r;
    char hash[RECORD_HASH], name[64], *text = malloc(bytes + 1);
    if (!text) {
        return 0;
    }
    if (bytes) {
        memcpy(text, data, bytes);
    }
    text[bytes] = 0;
    if (record_parse(text, bytes, &r) == 0 &&
        !(text_is_clean(r.image.path) && text_is_clean(r.cpu_name) && text_is_clean(r.uuid))) {
        abort();
    }
    record_hash_cpu(text, hash, name, sizeof name);
    record_hash_definition(text, hash);
    free(text);
    return 0;
}
