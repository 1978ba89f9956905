// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A Hugging Face model (safetensors, config.json, tokenizer.json) as a GGUF index: the same keys
// and tensor names, tensor data in the files. Architectures: LlamaForCausalLM, MistralForCausalLM,
// Qwen2ForCausalLM, Qwen3ForCausalLM, GPT2LMHeadModel; elements F32, F16, BF16.
//
// Rotary positions: these files pair dimension i with i + n/2, where GGUF's llama pairs neighbours.
// The key tessera.rope.split_halves (bool) tells a model so. GPT-2's Conv1D weights are stored
// [in][out]; the index holds transposed copies of them, made at opening.
#ifndef TENSOR_SAFETENSORS_H
#define TENSOR_SAFETENSORS_H

#include "tensor/gguf.h"

struct safetensors_source {
    const char *name; // of the file, for messages
    const void *data;
    size_t bytes;
};
struct safetensors_model {
    const struct safetensors_source *shards; // the .safetensors files
    size_t shard_count;
    struct safetensors_source config, tokenizer; // JSON
    struct safetensors_source tokenizer_config;  // JSON; data NULL: none
};

// The blocks must stay valid. Errors name file, tensor or JSON path, and the byte where there is
// one.
int safetensors_open(const struct safetensors_model *m, struct gguf **out, char *error,
                     size_t error_bytes);

// The names of the files that model.safetensors.index.json lists, each once, in the order of their
// first mention. 0 or a negative errno; the caller frees the names and the list.
int safetensors_index(const struct safetensors_source *json, char ***names, size_t *count,
                      char *error, size_t error_bytes);

#endif
