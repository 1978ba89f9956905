// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: a folder that stands for another machine's root.
#ifndef TESSERA_HARDWARE_TREE_HOST_H
#define TESSERA_HARDWARE_TREE_HOST_H

#include <stdint.h>

extern char tree[64]; // the root
void tree_make(void); // a new one, empty
void tree_remove(void);
// A file below the root, with the folders above it; printf's format.
__attribute__((format(printf, 2, 3))) void tree_file(const char *path, const char *format, ...);
void tree_folder(const char *path);
void tree_link(const char *path, const char *target);
// A PCI device with driver ("": none), group (-1: none) and node.
void tree_device(const char *address, unsigned vendor, unsigned product, unsigned class_code,
                 const char *driver, int group, int node);

#endif
