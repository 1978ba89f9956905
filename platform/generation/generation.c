// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The machine's generation, a file of QEMU's configuration device; see README.md for why. Source:
// QEMU docs/specs/fw_cfg, "Guest-side DMA Interface".
#include "platform/generation.h"

#include "platform/cpu.h"
#include "platform/generation/fw_cfg.h"
#include "platform/paging.h"
#include "platform/priv/init.h"
#include "platform/priv/spin.h"

enum { SELECTOR = 0x510, DATA = 0x511, DMA_HIGH = 0x514, DMA_LOW = 0x518 };
enum { ITEM_SIGNATURE = 0, ITEM_FEATURES = 1, ITEM_DIRECTORY = 0x19, FEATURE_DMA = 2 };
enum { CONTROL_ERROR = 1, CONTROL_READ = 2, CONTROL_SELECT = 8 };
enum { DIRECTORY_BYTES = 4096, MOST_LOOKS = 1000000 };
static const char file_name[] = "opt/org.tessera/generation";

static struct {
    uint32_t control, length; // big-endian, as the address
    uint64_t address;
} command __attribute__((aligned(64)));
static uint8_t answer[DIRECTORY_BYTES] __attribute__((aligned(4096)));

static struct pf_spin lock; // protects all here and the device
static uint16_t selector;   // 0: there is no such file
static uint32_t id_bytes;
static uint8_t id[PF_GENERATION_BYTES];
static uint32_t changes; // written under the lock, read by anybody

// Into `answer`. The device has done it when the second write returns; the loop is for others.
static bool transfer(uint16_t item, uint32_t bytes)
{
    uint64_t at = pf_virt_to_phys(&command), to = pf_virt_to_phys(answer);
    if (at == UINT64_MAX || to == UINT64_MAX || bytes > sizeof answer) {
        return false;
    }
    command.length = __builtin_bswap32(bytes);
    command.address = __builtin_bswap64(to);
    __atomic_store_n(&command.control,
                     __builtin_bswap32((uint32_t)item << 16 | CONTROL_SELECT | CONTROL_READ),
                     __ATOMIC_RELEASE);
    pf_out32(DMA_HIGH, __builtin_bswap32((uint32_t)(at >> 32)));
    pf_out32(DMA_LOW, __builtin_bswap32((uint32_t)at));
    uint32_t control = UINT32_MAX;
    for (int i = 0; i < MOST_LOOKS && control & ~(uint32_t)CONTROL_ERROR; i++) {
        control = __builtin_bswap32(__atomic_load_n(&command.control, __ATOMIC_ACQUIRE));
    }
    return control == 0;
}

static bool device_has_dma(void)
{
    static const char signature[] = {'Q', 'E', 'M', 'U'};
    pf_out16(SELECTOR, ITEM_SIGNATURE);
    for (unsigned i = 0; i < sizeof signature; i++) {
        if (pf_in8(DATA) != (uint8_t)signature[i]) {
            return false;
        }
    }
    pf_out16(SELECTOR, ITEM_FEATURES);
    return pf_in8(DATA) & FEATURE_DMA;
}

// True: it is another one than before. Under the lock.
static bool take_id(void)
{
    bool same = true;
    for (uint32_t i = 0; i < id_bytes; i++) {
        same = same && id[i] == answer[i];
        id[i] = answer[i];
    }
    return !same;
}

void pf_generation_init(void)
{
    uint32_t bytes;
    if (!device_has_dma() || !transfer(ITEM_DIRECTORY, sizeof answer) ||
        !fw_cfg_find(answer, sizeof answer, file_name, &selector, &bytes)) {
        selector = 0;
        return;
    }
    id_bytes = bytes < sizeof id ? bytes : sizeof id;
    if (transfer(selector, id_bytes)) {
        take_id();
    } else {
        selector = 0;
    }
}

uint32_t pf_generation_look(void)
{
    if (selector) {
        uint64_t flags = pf_spin_lock(&lock);
        if (transfer(selector, id_bytes) && take_id()) {
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
