// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The executor for NVIDIA GPUs: steps of exec.h on a device whose driver is loaded at run time. The
// host's programs only. Weights are copied to the device once a model; so are the K and V of runs
// (tn_step_sequence.run), in pages of the executor's own: the device never reaches into memory of
// the callers. What a step adds to a sequence's K and V is written to the sequence's own store too,
// by the caller's thread, so that any other executor can go on from there.
//
// Rows have the same bits whatever the batch, chunks and pages. They are not the bits of the CPU
// executor, which rounds the inputs of quantised products: logits are 1e-4 apart for float weights,
// a few per cent for quantised ones.
//
// Any thread may call anything here, one at a time for each executor.
#ifndef TENSOR_CUDA_H
#define TENSOR_CUDA_H

#include "tensor/exec.h"

// ---- devices -----------------------------------------------------------------------------------
struct tn_cuda_device;
struct tn_cuda_device_info {
    char name[96];
    uint64_t memory_bytes, free_bytes;
    uint32_t capability; // compute capability, 100 * major + minor
};
// 0: the driver is there with all functions that are needed, and this build has kernels. -ENOENT,
// -ENOTSUP. Nothing is initialised. `library`: NULL: libcuda.so.1; "": this program itself, which a
// test linked an emulated driver into.
int tn_cuda_available(const char *library, char *error, size_t error_bytes);
// Initialises the driver and loads the kernels onto device `number`; with a `bus_id`
// ("00000000:3B:00.0") onto that one. Opens files and starts threads: before a sandbox is entered.
// 0, -ENOENT (no driver, no such device), -ENOTSUP (no kernels for it), -EIO (the driver failed).
int tn_cuda_device_open(const char *library, uint32_t number, const char *bus_id,
                        struct tn_cuda_device **out, char *error, size_t error_bytes);
void tn_cuda_device_close(struct tn_cuda_device *d); // after everything that was opened on it
void tn_cuda_device_info(struct tn_cuda_device *d, struct tn_cuda_device_info *out);

// ---- a model's weights -------------------------------------------------------------------------
struct tn_cuda_model;
// Copies the weights; takes seconds for large models. The model must outlive it. -ENOTSUP: the
// model has an operation or a weight type that there are no kernels for, named in error; -ENOMEM:
// it does not fit the device.
int tn_cuda_model_open(struct tn_cuda_device *d, const struct tn_model *m,
                       struct tn_cuda_model **out, char *error, size_t error_bytes);
void tn_cuda_model_close(struct tn_cuda_model *m);

// ---- steps -------------------------------------------------------------------------------------
struct tn_cuda_executor_options {
    uint32_t max_tokens, max_sequences; // of a step
    uint32_t context;                   // as tn_executor_options.context
    uint32_t kv_type;                   // TN_F32 or TN_F16
    // Pages on the device, for all sequences that run at once: (position + 31) / 32 each.
    uint32_t pages;
};
struct tn_cuda_executor;
// 0, -EINVAL, -ENOTSUP (KV type), -ENOMEM.
int tn_cuda_executor_open(struct tn_cuda_model *m, const struct tn_cuda_executor_options *o,
                          struct tn_cuda_executor **out, char *error, size_t error_bytes);
void tn_cuda_executor_close(struct tn_cuda_executor *x);
// As tn_step; each sequence brings its own KV store. 0; -EINVAL; -ENOSPC: the sequences need more
// pages than the device has, nothing was changed; -EIO: the device failed, tn_cuda_failure says
// how: no further step will work. After an error the logits are nothing, and what was stored of the
// step's own positions may be either.
int tn_cuda_step(struct tn_cuda_executor *x, const struct tn_step_sequence *sequences,
                 size_t count);
const char *tn_cuda_failure(const struct tn_cuda_executor *x);
struct tn_cuda_statistics {
    uint64_t steps, loaded_pages; // loaded: K and V that had to be copied to the device
    uint32_t pages, pages_used;
};
void tn_cuda_get_statistics(const struct tn_cuda_executor *x, struct tn_cuda_statistics *out);

#endif
