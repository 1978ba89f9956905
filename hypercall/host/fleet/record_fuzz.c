// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as a fleet's record: refused with a message, or read; what was read prints and reads
// back to the same.
//
// Links: hypercall/host/fleet/record.c hypercall/host/fleet/record_json.c
// Links: hypercall/host/fleet/spec.c hypercall/host/fleet/fields.c hypercall/host/fleet/tables.c
// Links: hypercall/host/machine/values.c
// Links: hypercall/host/fleet/parts.c hypercall/host/fleet/endpoint_parts.c
// Links: hypercall/host/fleet/yaml.c hypercall/host/fleet/version.c
// Links: hypercall/host/machine/size.c hypercall/host/machine/text.c
// Libs: -lyaml -ljansson -lmbedcrypto
#include "hypercall/host/fleet/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fleet_record r, again;
    char error[300] = "";
    char *exact = malloc(bytes ? bytes : 1);
    if (!exact) {
        return 0;
    }
    memcpy(exact, data, bytes);
    if (fleet_record_parse(exact, bytes, &r, error, sizeof error) != 0) {
        if (!error[0]) {
            abort();
        }
    } else {
        char *one = fleet_record_print(&r);
        if (!one || fleet_record_parse(one, strlen(one), &again, error, sizeof error) != 0) {
            abort();
        }
        char *two = fleet_record_print(&again);
        if (!two || strcmp(one, two) != 0) {
            abort();
        }
        for (size_t i = 0; i < r.service_count; i++) {
            struct fleet_slot slots[2];
            fleet_slots(&r, r.services[i].name, slots);
            if (slots[0].share + slots[1].share != 10000) {
                abort();
            }
        }
        free(one);
        free(two);
        fleet_record_free(&again);
        fleet_record_free(&r);
    }
    free(exact);
    return 0;
}
