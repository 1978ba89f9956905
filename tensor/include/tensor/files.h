// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Models on a host's file system (not in guests): a GGUF file, all shards of one, a safetensors
// file or the folder of a Hugging Face model. The files are mapped read-only.
#ifndef TENSOR_FILES_H
#define TENSOR_FILES_H

#include "tensor/gguf.h"

struct tn_files;

// `path`: a file, or a folder with config.json. A name that ends in -00001-of-0000N.gguf stands for
// all N files beside it, whichever of them is named. On success *index is the caller's (often
// handed on to tn_model_open_index) and must be closed before the files. On failure a negative
// errno, and in `error` the file's name and what is wrong with it.
int tn_files_open(const char *path, struct tn_files **out, struct gguf **index, char *error,
                  size_t error_bytes);
void tn_files_close(struct tn_files *files);
// All bytes mapped, and the mapping of file i (NULL beyond the last).
uint64_t tn_files_bytes(const struct tn_files *files);
const struct gguf_block *tn_files_block(const struct tn_files *files, size_t i);

#endif
