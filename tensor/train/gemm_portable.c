/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Matrix product for any CPU.
 */
#define GEMM_NAME  train_gemm_portable
#define GEMM_LANES 4
#define GEMM_ROWS  4
#include "tensor/train/gemm_tile.h"
