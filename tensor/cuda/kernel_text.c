// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernels as the driver takes them: PTX, written at build time by clang from kernels.h; empty
// where the build found no clang.
#include "tensor/cuda/device.h"

const char cuda_kernel_text[] =
#include "tensor/cuda/kernel_text.h"
    ;
