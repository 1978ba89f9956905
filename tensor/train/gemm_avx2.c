/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Matrix product for CPUs with AVX2 and FMA.
 */
#pragma GCC target("avx2,fma")
#define GEMM_NAME  train_gemm_avx2
#define GEMM_LANES 8
#define GEMM_ROWS  6
#include "tensor/train/gemm_tile.h"
