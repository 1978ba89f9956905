// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera pkg`: what its files share.
#ifndef TESSERA_TOOL_PKG_H
#define TESSERA_TOOL_PKG_H

#include "hypercall/host/packages/packages.h"
#include "hypercall/host/tool/tool.h"

// argv[0] is the sub-command's name.
int pkg_install(int argc, char **argv);
int pkg_search(int argc, char **argv);
int pkg_index(int argc, char **argv);

// A store with messages and progress for people; TOOL_FAILED with a message printed.
int pkg_open(struct packages *p, bool make);
void pkg_print_bytes(uint64_t bytes, char out[16]); // "1.4 MB"

// Of struct packages: the guests of libvirt's that need the file, running or not.
int pkg_in_use(void *context, const char *blob_path, char *who, size_t who_bytes);
// Of weights_copies_prune: these, or a process that has it mapped.
int pkg_copy_in_use(void *context, const char *path, char *who, size_t who_bytes);

#endif
