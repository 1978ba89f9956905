// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the parts of the Hugging Face reader share: config.json (hf_config.c), tokenizer.json
// (hf_tokenizer.c, hf_pattern.c), tensor names (hf_tensors.c), and safetensors.c, which joins them.
#ifndef TENSOR_FORMAT_HF_H
#define TENSOR_FORMAT_HF_H

#include "tensor/gguf_write.h"
#include "tensor/safetensors.h"

#include <jansson.h>

enum hf_family { HF_LLAMA, HF_GPT2 };

struct hf_reader {
    const struct safetensors_model *model;
    struct tn_gguf_writer *keys;
    char *error;
    size_t error_bytes;
    // From config.json:
    enum hf_family family;
    char architecture[16]; // GGUF's name
    bool tied;             // lm_head is the token table, whatever the file holds
    uint32_t layers, vocabulary;
    int64_t begin, end; // ids that config.json names, -1: none
    float
        *rope_factors; // of llama3's scaling, for rope_freqs.weight; NULL: none. The caller frees.
    uint32_t rope_factor_count;
};

// Puts "FILE: what" into the error and returns rc.
__attribute__((format(printf, 4, 5))) int hf_fail(struct hf_reader *r, int rc,
                                                  const struct safetensors_source *file,
                                                  const char *format, ...);
// Parses a whole JSON file; NULL with an error that has the byte.
json_t *hf_json(struct hf_reader *r, const struct safetensors_source *file);
// A text from outside for a message: cut, printable ASCII.
const char *hf_show(const char *text, char *buffer, size_t bytes);

// config.json to keys. 0 or a negative errno.
int hf_config(struct hf_reader *r, json_t *config);
// tokenizer.json (and tokenizer_config.json, which may be NULL) to keys.
int hf_tokenizer(struct hf_reader *r, json_t *tokenizer, json_t *settings);
// tokenizer.ggml.pre by the "pre_tokenizer" of tokenizer.json. NULL with an error.
const char *hf_pre_tokenizer(struct hf_reader *r, json_t *pre, bool ignore_merges);

// A tensor's GGUF name; false: not one that the model has.
struct hf_name {
    char text[64];
    bool transpose; // stored [in][out]
    bool ignored;   // known, but no weight: masks, frequencies
    uint32_t layer; // UINT32_MAX: of no layer
};
bool hf_tensor_name(enum hf_family family, const char *name, struct hf_name *out);
// Required tensor i of a layer (UINT32_MAX: of the whole model); false beyond the last.
struct hf_required {
    char theirs[96], ours[64]; // names
};
bool hf_required(enum hf_family family, size_t i, uint32_t layer, struct hf_required *out);

#endif
