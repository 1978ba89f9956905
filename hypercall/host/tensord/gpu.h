// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which device computes: chosen once, when the worker starts. A model goes to the GPU if one was
// chosen and has kernels for it, otherwise to the host's cores; and back to them when the GPU
// fails.
#ifndef TENSORD_GPU_H
#define TENSORD_GPU_H

#include "hypercall/host/tensord/worker.h"

// Opens the device that the options want; the audit log says which and why. Before the sandbox is
// entered. False: a GPU was asked for by number and is not there (the cores compute then).
bool gpu_open(struct worker *w);
// Capabilities' bits, and how many devices compute.
uint64_t worker_features(const struct worker *w);
uint32_t worker_device_count(const struct worker *w);
// Copies a model's weights to the GPU. Called by the opener, without the lock; `note` says for the
// audit log what came of it ("" without a GPU).
struct tn_cuda_model *gpu_weights(struct worker *w, const struct tn_model *m, char *note,
                                  size_t note_bytes);
// An engine that was opened gets its executor on the GPU. With the lock.
void gpu_engine(struct worker *w, struct engine *e);
// A step of the engine, on its device. The compute thread, without the lock.
int engine_step(struct engine *e, const struct tn_step_sequence *steps, size_t count);
// After a pass: what is known of the GPU; says once that it has failed. The compute thread, with
// the lock.
void gpu_report(struct worker *w, struct engine *e);
// "gpu" or "cpu"; for people.
const char *engine_device(const struct engine *e);

#endif
