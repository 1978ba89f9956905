// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the files of the guest's side (X_guest.c) share.
#ifndef APPS_LLM_GUEST_H
#define APPS_LLM_GUEST_H

#include "apps/llm/llm.h"
#include "libos/manifest.h"

struct found_model {
    const void *data; // aligned for tensors, valid for ever
    size_t bytes;
    char name[128];     // "" if the source has none
    const char *source; // for people
};
// Finds the model where the manifest says; a disk is read into memory first. 0, or a negative errno
// and in problem what is wrong and what to do.
int model_find(const struct manifest *m, struct found_model *out, char *problem,
               size_t problem_bytes);
// The shell's `chat`, `status` and `calls`.
void shell_commands_init(struct llm *l);

void shell_calls_init(struct llm *l);
// Measures round trips of `count` empty calls and prints two lines: `call spin MEDIAN_US P99_US N`
// and `call sleep …`; or one that says why not. 0 or a negative errno. Any strand but the engine's.
int shell_calls_bench(uint32_t count, int (*print)(const char *format, ...));

#endif
