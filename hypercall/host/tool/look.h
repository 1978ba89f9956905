// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What `ls`, `top` and `inspect` share.
#ifndef TESSERA_TOOL_LOOK_H
#define TESSERA_TOOL_LOOK_H

#include "hypercall/host/tool/run.h"
#include "hypercall/host/view/look.h"

#include <jansson.h>

// Are the guests' processes on this machine?
bool look_is_local(const struct guest_host *h);
// As view_look, of this connection.
int look_take(struct guest_host *h, const char *only, struct view *out, char *error,
              size_t error_bytes);
// A guest as an object. NULL: no memory.
json_t *look_json(const struct view_guest *g, const struct view_rates *r);
// One line on standard output, in ASCII: guests' texts reach a terminal escaped. Takes the
// reference. An exit status.
int look_print_json(json_t *taken);

#endif
