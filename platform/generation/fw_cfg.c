// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The configuration device's directory; see fw_cfg.h.
#include "platform/generation/fw_cfg.h"

static uint32_t big_endian(const uint8_t *at, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

static bool same_name(const uint8_t *entry, const char *name)
{
    for (unsigned i = 0; i < FW_CFG_NAME_BYTES; i++) {
        if (entry[i] != (uint8_t)name[i]) {
            return false;
        }
        if (!name[i]) {
            return true;
        }
    }
    return false;
}

bool fw_cfg_find(const uint8_t *directory, size_t bytes, const char *name, uint16_t *selector,
                 uint32_t *file_bytes)
{
    if (bytes < 4) {
        return false;
    }
    uint32_t count = big_endian(directory, 4);
    size_t room = (bytes - 4) / FW_CFG_ENTRY_BYTES;
    for (size_t i = 0; i < count && i < room; i++) {
        const uint8_t *entry = directory + 4 + i * FW_CFG_ENTRY_BYTES;
        if (same_name(entry + 8, name)) {
            *file_bytes = big_endian(entry, 4);
            *selector = (uint16_t)big_endian(entry + 4, 2);
            return true;
        }
    }
    return false;
}
