// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Inside of the CUDA executor: a device with its kernels, a model's weights on it.
#ifndef TENSOR_CUDA_DEVICE_H
#define TENSOR_CUDA_DEVICE_H

#include "tensor/cuda.h"
#include "tensor/cuda/driver.h"
#include "tensor/cuda/kernel_types.h"
#include "tensor/ir/ir.h"

extern const char cuda_kernel_text[];
extern const char *const cuda_kernel_names[CUDA_KERNEL_COUNT];

struct tn_cuda_device {
    struct cuda_driver driver;
    cuda_ordinal ordinal;
    cuda_context context;
    cuda_module module;
    cuda_function kernels[CUDA_KERNEL_COUNT];
    struct tn_cuda_device_info info;
};

// The device's addresses of an operation's weights, NULL where it has none.
struct cuda_op {
    const uint8_t *matrix[2];
    const float *vector[2], *sinks;
    const float *norm[2]; // of op->norm
};

struct tn_cuda_model {
    struct tn_cuda_device *device;
    const struct ir_graph *graph;
    struct cuda_op *ops; // one for each of the graph
    struct cuda_copy *copies;
    uint32_t copy_count, copy_space;
    uint64_t bytes;
    // The widest rows that steps need scratch for, in floats.
    uint32_t most_norm, most_gated;
};

// Makes the device the calling thread's. 0 or the driver's error.
cuda_result cuda_enter(struct tn_cuda_device *d);
// Device memory. 0; -ENOMEM, -EIO with a message.
int cuda_take(struct tn_cuda_device *d, size_t bytes, cuda_address *out, const char *what,
              char *error, size_t error_bytes);
void cuda_give_back(struct tn_cuda_device *d, cuda_address address); // 0: nothing
// Of products by weights of a type, for one row of the step or up to eight. -1: there is none.
int cuda_product_kernel(uint32_t type, uint32_t rows);

#endif
