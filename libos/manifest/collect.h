// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sorting boot modules into files by their content.
#ifndef LIBOS_MANIFEST_COLLECT_H
#define LIBOS_MANIFEST_COLLECT_H

#include "libos/manifest.h"

#define BOOT_MAX_FILES 64u

struct boot_files {
    size_t count;
    struct boot_file file[BOOT_MAX_FILES];
    unsigned bare_models, bare_manifests, unknown; // for names of files that bring none
};

enum boot_file_kind boot_file_kind_of(const void *data, size_t bytes);
// Adds one module: a file, or every regular file of a cpio archive. 0, -EINVAL (damaged, what was
// before the damage is kept), -ENOSPC; `error` then says what.
int boot_files_add(struct boot_files *f, const void *data, size_t bytes,
                   enum boot_file_origin origin, char *error, size_t error_bytes);

#endif
