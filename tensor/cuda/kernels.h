// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// All kernels in one place: what is compiled for the device, and for the emulated one.
#ifndef TENSOR_CUDA_KERNELS_H
#define TENSOR_CUDA_KERNELS_H

#include "tensor/cuda/kernel_attention.h"
#include "tensor/cuda/kernel_product.h"
#include "tensor/cuda/kernel_rows.h"

#endif
