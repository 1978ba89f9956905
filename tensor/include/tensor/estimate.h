// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a token will take, before one is computed.
#ifndef TENSOR_ESTIMATE_H
#define TENSOR_ESTIMATE_H

#include "tensor/exec.h"

// Estimates the time of one token of one sequence on this executor: products of slices of the
// model's own weights are timed on one worker for about budget_ns (one tile at least), and scaled
// by the bytes that a token reads and by the pool's width. The executor must be idle; nothing of
// its KV store is touched. 0; -ENOTSUP: the model has no products; -ENOMEM.
int tn_estimate_token(struct tn_executor *x, uint64_t (*now_ns)(void), uint64_t budget_ns,
                      uint64_t *token_ns);

#endif
