// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Looking things up in a command line; pf_cmdline_get does it for the machine's own.
#ifndef PLATFORM_BOOT_CMDLINE_H
#define PLATFORM_BOOT_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>

// Value of `key` in `line`, copied to buf; a bare key has the value "". Returns its length,
// -ENOENT, or -ERANGE if buf is too small.
int pf_cmdline_find(const char *line, const char *key, char *buf, size_t size);
// Whether `key=a,b,c` in `line` has `item` among its values.
bool pf_cmdline_listed(const char *line, const char *key, const char *item);
// For a sealed image: keeps of `line` only what describes the machine (`virtio_mmio.device=…`,
// which QEMU's microvm adds), in place. refused gets the beginning of the first other word with a
// `=`, dropped of the first without, each "" if there is none.
void pf_cmdline_seal(char *line, char *refused, char *dropped, size_t size);

#endif
