// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Inside of a GGUF writer, for the part that makes files.
#ifndef TENSOR_FORMAT_GGUF_WRITE_H
#define TENSOR_FORMAT_GGUF_WRITE_H

#include "tensor/gguf_write.h"

struct gguf_buffer {
    uint8_t *bytes;
    size_t length, capacity;
};

struct gguf_planned {
    const void *data;
    uint64_t offset, size; // within the data section
};

struct tn_gguf_writer {
    struct gguf_buffer pairs, infos;
    uint64_t pair_count;
    struct gguf_planned *tensors;
    size_t tensor_count, tensor_room;
    uint64_t offset; // of the next tensor within the data section
    uint32_t alignment;
    int error;
};

#endif
