/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Matrix product for CPUs with AVX-512.
 */
#pragma GCC target("avx512f,prefer-vector-width=512")
#define GEMM_NAME  train_gemm_avx512
#define GEMM_LANES 16
#define GEMM_ROWS  14
#include "tensor/train/gemm_tile.h"
