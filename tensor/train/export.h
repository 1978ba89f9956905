/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * From a trained network to a GGUF file of the llama architecture.
 */
#ifndef TRAIN_EXPORT_H
#define TRAIN_EXPORT_H

#include "tensor/train/net.h"
#include "tensor/train/vocab.h"

/* Rounds every matrix to Q8_0 and back, as a reader of the file will see it. */
void train_round_to_q8(const struct train_net *net, const float *parameters, float *rounded);

/*
 * Writes the network with matrices as Q8_0 and norms as F32, its vocabulary and the ChatML
 * template. The width and ff must be multiples of 32. Returns 0 or a negative errno.
 */
int train_export_gguf(const struct train_net *net, const float *parameters,
                      const struct train_vocab *vocab, const char *name, const char *path);

#endif
