// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which type each tensor of a quantised model gets.
#ifndef TESSERA_QUANTIZE_PLAN_H
#define TESSERA_QUANTIZE_PLAN_H

#include "tensor/gguf.h"

// What TYPE on the command line stands for.
struct quantize_recipe {
    const char *name;   // "Q4_K", "Q4_K_M"
    uint32_t type;      // of most matrices
    uint32_t file_type; // general.file_type
    // Mixtures: the type of attn_v and ffn_down in the layers that gain most by it, and which those
    // are; and of attn_output.
    uint32_t value_type, down_type, output_type; // 0: as `type`
    bool (*value_layer)(uint32_t layer, uint32_t layers);
    bool (*down_layer)(uint32_t layer, uint32_t layers);
};

// NULL: no such recipe. Letters of either case.
const struct quantize_recipe *quantize_find(const char *name);

struct quantize_model {
    uint32_t layers;
    bool tied; // no output.weight: the token table is the output matrix too
    bool pure; // every matrix exactly the recipe's type
};
struct quantize_model quantize_describe(const struct gguf *g, bool pure);
// The tensor's type in the new file; `shortened`: set when its rows are no whole blocks of the type
// it should have.
uint32_t quantize_type(const struct quantize_recipe *r, const struct quantize_model *m,
                       const struct gguf_tensor *t, bool *shortened);

#endif
