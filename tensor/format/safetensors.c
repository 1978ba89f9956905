// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
#include "tensor/safetensors.h"
#include <errno.h>
#include <stdio.h>
int safetensors_open(const struct safetensors_model *m, struct gguf **out, char *error, size_t error_bytes)
{
    (void)m; *out = NULL;
    snprintf(error, error_bytes, "safetensors are not supported yet");
    return -ENOTSUP;
}
int safetensors_index(const struct safetensors_source *json, char ***names, size_t *count, char *error, size_t error_bytes)
{
    (void)json; *names = NULL; *count = 0;
    snprintf(error, error_bytes, "safetensors are not supported yet");
    return -ENOTSUP;
}
