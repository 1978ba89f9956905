// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a version is: a hash over all that defines a guest.
#include "hypercall/host/base/hex.h"
#include "hypercall/host/base/sha256.h"
#include "hypercall/host/fleet/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Without the paths of files whose content is known.
static json_t *identity_form(const struct fleet_variant *v)
{
    json_t *o = fleet_variant_to_json(v);
    if (o && v->model_identity[0]) {
        json_object_del(o, "model");
    }
    if (o && v->image_identity[0]) {
        json_object_del(o, "image");
    }
    return o;
}

void fleet_version(const struct fleet_variant *v, char out[FLEET_VERSION])
{
    uint8_t sha256[32] = {0};
    json_t *o = identity_form(v);
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (text) {
        sha256_bytes(text, strlen(text), sha256);
    }
    hex_write(sha256, (FLEET_VERSION - 1) / 2, out);
    free(text);
    json_decref(o);
}

bool fleet_variant_differs(const struct fleet_variant *a, const struct fleet_variant *b)
{
    json_t *x = identity_form(a), *y = identity_form(b);
    bool differs = !x || !y || !json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return differs;
}
