// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One installation on its way. Not for others.
#ifndef TESSERA_PACKAGES_INSTALL_H
#define TESSERA_PACKAGES_INSTALL_H

#include "hypercall/host/packages/model.h"
#include "hypercall/host/packages/private.h"

struct install {
    struct packages *p;
    const struct packages_request *request;
    struct packages_entry *entry; // the caller's
    struct origin origin;
    struct partial partial;
    bool is_folder, existed;
};

// Where the model comes from: a file, a URL, or a name in an index.
int pk_find_source(struct install *in);
// Of all files of a model: a folder's own, one after the other by name; and of all shards.
int pk_hash_folder(struct packages *p, const char *folder, char hex[65], uint64_t *bytes);
// Under the store's lock: deletes the blob if no name needs it and nobody has it mapped.
void pk_drop_blob(struct packages *p, const char *blob);

#endif
