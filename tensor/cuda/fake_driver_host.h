// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: the CUDA driver's functions over an emulated device that runs the same kernels on the
// CPU. It is stricter than a device: its memory cannot be reached but by its own functions, ends
// where allocations end (under ASan), and nothing that was queued happens before it is waited for.
// Link it with -rdynamic, and open the library "".
#ifndef TENSOR_CUDA_FAKE_DRIVER_H
#define TENSOR_CUDA_FAKE_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Threads of a block take their turns from the last to the first.
void fake_cuda_backwards(bool on);
// Memory that may be taken; at the start 512 MB.
void fake_cuda_limit(size_t bytes);
// The launch after so many more fails as for a bad address, and then everything; < 0: none does.
// At the start what FAKE_CUDA_FAIL_AFTER says in the environment.
void fake_cuda_fail_after(int64_t launches);
// Allocations, streams, modules and contexts that were not given back.
unsigned fake_cuda_open_things(void);
uint64_t fake_cuda_launches(void);

#endif
