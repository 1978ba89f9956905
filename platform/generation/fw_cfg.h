// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// QEMU's configuration device: named files of the host. Source: QEMU docs/specs/fw_cfg.
#ifndef PLATFORM_GENERATION_FW_CFG_H
#define PLATFORM_GENERATION_FW_CFG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FW_CFG_ENTRY_BYTES = 64, FW_CFG_NAME_BYTES = 56 };

// A file of the directory as the device gives it: a count, then entries, all big-endian. False: it
// is not there, or lies past `bytes`.
bool fw_cfg_find(const uint8_t *directory, size_t bytes, const char *name, uint16_t *selector,
                 uint32_t *file_bytes);

#endif
