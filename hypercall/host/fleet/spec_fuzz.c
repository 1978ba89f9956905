// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as fleet.yaml: refused with a message, or read; what was read has a normal form that
// reads back to the same.
//
// Links: hypercall/host/fleet/spec.c hypercall/host/fleet/fields.c hypercall/host/fleet/tables.c
// Links: hypercall/host/machine/values.c
// Links: hypercall/host/fleet/parts.c hypercall/host/fleet/endpoint_parts.c
// Links: hypercall/host/fleet/yaml.c hypercall/host/fleet/version.c
// Links: hypercall/host/machine/size.c hypercall/host/machine/text.c
// Libs: -lyaml -ljansson -lmbedcrypto
#include "hypercall/host/fleet/plan.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fleet_spec s, again;
    char error[300] = "";
    char *exact = malloc(bytes ? bytes : 1);
    if (!exact) {
        return 0;
    }
    memcpy(exact, data, bytes);
    if (fleet_spec_parse(exact, bytes, "f", "/d", &s, error, sizeof error) != 0) {
        if (!error[0]) {
            abort();
        }
    } else {
        json_t *one = fleet_spec_to_json(&s);
        if (!one || fleet_spec_from_json(one, &again, error, sizeof error) != 0) {
            abort();
        }
        json_t *two = fleet_spec_to_json(&again);
        if (!json_equal(one, two)) {
            abort();
        }
        json_decref(one);
        json_decref(two);
        fleet_spec_free(&again);
        fleet_spec_free(&s);
    }
    free(exact);
    return 0;
}
