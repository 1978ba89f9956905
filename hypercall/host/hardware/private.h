// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading small files below a root folder.
#ifndef TESSERA_HARDWARE_PRIVATE_H
#define TESSERA_HARDWARE_PRIVATE_H

#include "hypercall/host/hardware/hardware.h"

#include <stdio.h>

// The path below the root; false if it is too long.
__attribute__((format(printf, 3, 4))) bool hw_path(char out[PATH_MAX], const char *root,
                                                   const char *format, ...);
// The whole file, NUL-terminated, at most 16 MB; the caller frees. NULL: it cannot be read.
char *hw_read(const char *path);
// Its first line without blanks at the end; false: it cannot be read.
bool hw_line(const char *path, char *out, size_t out_bytes);
// A number in decimal or, after 0x, in hexadecimal; `missing` if there is none.
uint64_t hw_number(const char *path, uint64_t missing);
// The last component of what a symbolic link names; false: it is none.
bool hw_link_name(const char *path, char *out, size_t out_bytes);
// Calls for each entry that does not begin with a dot, in order of names.
void hw_entries(const char *path, void (*each)(void *context, const char *name), void *context);

#endif
