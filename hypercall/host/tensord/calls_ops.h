// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Calls on tensors: handles, single operations, registered graphs, training. Everything under the
// worker's lock but the work itself, which the compute thread does between passes.
#ifndef TENSORD_CALLS_OPS_H
#define TENSORD_CALLS_OPS_H

#include "hypercall/host/tensord/worker.h"

uint64_t ops_features(void);
// Answers or begins a call from HC_TENSOR on.
int ops_call(struct guest *g, const struct hc_submission *s, uint64_t value[2], bool *later);
bool ops_has_tag(const struct guest *g, uint64_t tag);
bool ops_cancel(struct guest *g, uint64_t tag); // false: no such call
void ops_stop(struct guest *g);                 // what is under way ends soon
void ops_close(struct guest *g);                // everything is freed; nothing is under way
// The guest whose next piece of work comes first by its virtual time, or NULL; and that work, with
// the lock released meanwhile.
struct guest *ops_ready(struct worker *w);
void ops_work(struct worker *w, struct guest *g);

#endif
