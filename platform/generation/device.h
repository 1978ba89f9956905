// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Transfers from QEMU's configuration device. Needs paging; any CPU, not from interrupts.
#ifndef PLATFORM_GENERATION_DEVICE_H
#define PLATFORM_GENERATION_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

enum { FW_CFG_MOST_BYTES = 4096 }; // of one transfer

// False: there is no device that does transfers, or no file of this name.
bool fw_cfg_open(const char *name, uint16_t *selector, uint32_t *bytes);
// The file's first bytes, at most FW_CFG_MOST_BYTES.
bool fw_cfg_read(uint16_t selector, void *out, uint32_t bytes);

#endif
