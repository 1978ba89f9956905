// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a GGUF file says of itself. Not for others.
#ifndef TESSERA_PACKAGES_MODEL_H
#define TESSERA_PACKAGES_MODEL_H

#include "hypercall/host/packages/packages.h"

struct model_facts {
    char type[32]; // of most bytes
    char architecture[64], description[PACKAGES_TEXT], licence[PACKAGES_TEXT];
    uint64_t content, file_bytes;
};
// Opens it as every reader does. -ENOTSUP: one file of several.
int model_facts_read(struct packages *p, const char *path, struct model_facts *out);

#endif
