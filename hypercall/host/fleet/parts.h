// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The parts of a specification that a table alone does not describe: each read and written by a
// function of its own. Private. `object` is the structure in whose table the part stands.
#ifndef TESSERA_FLEET_PARTS_H
#define TESSERA_FLEET_PARTS_H

#include "hypercall/host/fleet/fields.h"

#define PART(part)                                                                                 \
    int read_##part(struct reader *r, const json_t *value, void *object);                          \
    json_t *write_##part(const void *object)
// Of struct fleet_variant.
PART(model_file);
PART(vcpus);
PART(settings);
// Of struct fleet_model.
PART(aliases);
PART(health);
PART(autoscale);
PART(canary);
// Of struct fleet_endpoint.
PART(listen);
PART(tls);
PART(keys);
// Of struct fleet_spec.
PART(endpoint);
PART(models);
#undef PART

extern const struct field health_fields[], autoscale_fields[], canary_fields[], tls_fields[],
    endpoint_fields[];
bool fleet_alias_is_valid(const char *text);

#endif
