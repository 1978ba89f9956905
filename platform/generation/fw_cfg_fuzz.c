// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as the configuration device's directory: what is found lies within them.
// Links: platform/generation/fw_cfg.c
#include "platform/generation/fw_cfg.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char name[] = "opt/org.tessera/generation";
    uint16_t selector;
    uint32_t bytes;
    if (fw_cfg_find(data, size, name, &selector, &bytes) &&
        (size < 4 + FW_CFG_ENTRY_BYTES || !memmem(data, size, name, sizeof name))) {
        abort();
    }
    return 0;
}
