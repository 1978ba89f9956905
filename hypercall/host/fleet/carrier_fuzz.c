// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any text as a carrier's metadata: whoever may define domains may have written it.
//
// Links: hypercall/host/fleet/carrier_text.c hypercall/host/fleet/secrets.c
// Links: hypercall/host/fleet/record.c hypercall/host/fleet/record_json.c
// Links: hypercall/host/fleet/spec.c hypercall/host/fleet/fields.c hypercall/host/fleet/tables.c
// Links: hypercall/host/machine/values.c
// Links: hypercall/host/fleet/parts.c hypercall/host/fleet/endpoint_parts.c
// Links: hypercall/host/fleet/yaml.c hypercall/host/fleet/version.c
// Links: hypercall/host/machine/size.c hypercall/host/machine/text.c
// Libs: -lyaml -ljansson -lmbedcrypto
#include "hypercall/host/fleet/carrier.h"
#include "hypercall/host/fleet/secrets.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *xml = malloc(size + 1);
    if (!xml) {
        return 0;
    }
    memcpy(xml, data, size);
    xml[size] = 0;
    char *text = carrier_element_text(xml);
    if (text && strlen(text) > size) {
        abort();
    }
    // As a record that names a file of keys, and as what is in that file.
    char path[100], *keys = NULL;
    fleet_secrets_path(xml, path, sizeof path);
    char *shown = fleet_secrets_show(xml, xml, NULL);
    char *hidden = shown ? fleet_secrets_hide(shown, path, &keys) : NULL;
    if (hidden && strchr(xml, '\n') && strncmp(keys, xml, strcspn(xml, "\n")) != 0) {
        abort();
    }
    free(hidden);
    free(keys);
    free(shown);
    free(text);
    free(xml);
    return 0;
}
