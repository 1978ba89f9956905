// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What `tessera up` and `diff` say they would do: a wanted specification beside the record and the
// guests that are there. Pure: nothing is asked or changed here.
#ifndef TESSERA_FLEET_PLAN_H
#define TESSERA_FLEET_PLAN_H

#include "hypercall/host/fleet/record.h"
#include "hypercall/host/machine/text.h"

// A guest as libvirt and the endpoint show it.
struct fleet_member {
    char name[49], service[FLEET_SERVICE], version[FLEET_VERSION];
    uint32_t port;
    bool running; // the domain runs
    bool healthy; // and answered its health check lately
};

enum fleet_change { FLEET_SAME, FLEET_ADD, FLEET_REMOVE, FLEET_ALTER };
struct fleet_plan_line {
    enum fleet_change change;
    char service[FLEET_SERVICE]; // "" the endpoint or the fleet itself
    char *text;                  // "chat: 3 guests of phi-3.gguf, 512 MB, 2 CPUs"
};
struct fleet_plan {
    struct fleet_plan_line *lines;
    size_t count;
    size_t changes; // lines other than FLEET_SAME
};
void fleet_plan_free(struct fleet_plan *p);

// now: NULL, there is no such fleet. wanted: NULL, it is to go. Both resolved (fleet_resolve), so
// that equal files are seen as equal.
int fleet_plan(const struct fleet_record *now, const struct fleet_spec *wanted,
               const struct fleet_member *members, size_t member_count, struct fleet_plan *out,
               char *error, size_t error_bytes);
// A line each ("+ ", "- ", "~ ", "= "), and a summary: "Plan: 1 to create, …" or "Nothing to do."
void fleet_plan_print(const struct fleet_plan *p, struct text *out);
json_t *fleet_plan_to_json(const struct fleet_plan *p);

// Does going from one to the other change the guests themselves (their version)?
bool fleet_variant_differs(const struct fleet_variant *a, const struct fleet_variant *b);

#endif
