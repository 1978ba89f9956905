// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Named files that the host gives this machine by QEMU's configuration device: what must not stand
// on a command line, such as a key. Source: QEMU docs/specs/fw_cfg.
#ifndef PLATFORM_HOST_FILE_H
#define PLATFORM_HOST_FILE_H

#include <stddef.h>

// All of a file into `out`; *bytes is its length, which is no more than `room` (at most 4096). 0;
// -ENOENT: the host gives no file of this name; -EFBIG: it is longer; -EIO: the device fails. Needs
// paging. Any CPU, not from interrupts.
int pf_host_file(const char *name, void *out, size_t room, size_t *bytes);

#endif
