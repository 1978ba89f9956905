// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The machine's generation, a file of QEMU's configuration device; see README.md for why.
#include "platform/generation.h"

#include "platform/generation/device.h"
#include "platform/priv/init.h"
#include "platform/priv/spin.h"

#include <stdbool.h>

static const char file_name[] = "opt/org.tessera/generation";

static struct pf_spin lock; // protects what follows
static uint16_t selector;   // 0: there is no such file
static uint32_t id_bytes;
static uint8_t id[PF_GENERATION_BYTES];
static uint32_t changes; // written under the lock, read by anybody

// True: it is another one than before. Under the lock.
static bool take_id(void)
{
    uint8_t now[PF_GENERATION_BYTES];
    bool same = true;
    if (!fw_cfg_read(selector, now, id_bytes)) {
        return false;
    }
    for (uint32_t i = 0; i < id_bytes; i++) {
        same = same && id[i] == now[i];
        id[i] = now[i];
    }
    return !same;
}

void pf_generation_init(void)
{
    uint32_t bytes;
    if (!fw_cfg_open(file_name, &selector, &bytes)) {
        selector = 0;
        return;
    }
    id_bytes = bytes < sizeof id ? bytes : sizeof id;
    take_id();
}

uint32_t pf_generation_look(void)
{
    if (selector) {
        uint64_t flags = pf_spin_lock(&lock);
        if (take_id()) {
            __atomic_store_n(&changes, changes + 1, __ATOMIC_RELEASE);
        }
        pf_spin_unlock(&lock, flags);
    }
    return pf_generation();
}

uint32_t pf_generation(void)
{
    return __atomic_load_n(&changes, __ATOMIC_ACQUIRE);
}

size_t pf_generation_id(uint8_t out[PF_GENERATION_BYTES])
{
    size_t bytes = selector ? id_bytes : 0;
    uint64_t flags = pf_spin_lock(&lock);
    for (size_t i = 0; i < bytes; i++) {
        out[i] = id[i];
    }
    pf_spin_unlock(&lock, flags);
    return bytes;
}
