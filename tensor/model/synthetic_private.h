// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the parts of the maker of synthetic models share.
#ifndef TENSOR_SYNTHETIC_PRIVATE_H
#define TENSOR_SYNTHETIC_PRIVATE_H

#include "tensor/gguf_write.h"
#include "tensor/model/synthetic.h"

#include <string.h>

enum { SYNTHETIC_LEAST_VOCABULARY = 260 };

static inline bool is(const struct synthetic_options *o, const char *architecture)
{
    return strcmp(o->architecture, architecture) == 0;
}

// The tokenizer's keys. False: no memory.
bool synthetic_vocabulary(struct tn_gguf_writer *w, const struct synthetic_options *o);

#endif
