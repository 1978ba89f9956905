// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Whose K and V the device's pages hold. A run keeps the pages of all its positions from step to
// step; when there are none left, the runs that were idle for longest lose theirs and load them
// again when they go on. Plain bookkeeping: nothing here touches the device.
#ifndef TENSOR_CUDA_PAGES_H
#define TENSOR_CUDA_PAGES_H

#include "tensor/exec.h"

struct cuda_run {
    uint64_t run;   // the caller's number, 0: of this step only
    const void *kv; // its store; NULL: the entry is free
    uint32_t next;  // K and V of positions below are on the device
    uint32_t end;   // of the step under way
    uint32_t page_count;
    uint32_t *pages; // of the device
    uint64_t used;   // the last step that took it
    bool in_step;
};

struct cuda_pages {
    uint32_t page_count, free_count, run_count, most_pages; // most_pages: of one run
    uint32_t *free_pages;                                   // a stack
    uint32_t *memory;
    struct cuda_run *runs;
    uint64_t step;
};

// 0, -ENOMEM. `runs`: more than sequences in a step.
int cuda_pages_open(struct cuda_pages *p, uint32_t pages, uint32_t runs, uint32_t most_pages);
void cuda_pages_close(struct cuda_pages *p);
void cuda_pages_begin(struct cuda_pages *p);
// Gives the sequence pages for all its positions in this step; *load: the first of these many have
// to be copied from its own store. 0; -ENOSPC: the step takes too many. -EINVAL: too many runs.
int cuda_pages_bind(struct cuda_pages *p, const struct tn_step_sequence *s, struct cuda_run **out,
                    uint32_t *load);
// The step is done; or it went wrong, and its runs are known no more.
void cuda_pages_end(struct cuda_pages *p, bool done);

#endif
