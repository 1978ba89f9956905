// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// QEMU's configuration device. Source: QEMU docs/specs/fw_cfg, "Guest-side DMA Interface".
#include "platform/generation/device.h"

#include "platform/cpu.h"
#include "platform/generation/fw_cfg.h"
#include "platform/host_file.h"
#include "platform/paging.h"
#include "platform/priv/spin.h"

#include <errno.h>

enum { SELECTOR = 0x510, DATA = 0x511, DMA_HIGH = 0x514, DMA_LOW = 0x518 };
enum { ITEM_SIGNATURE = 0, ITEM_FEATURES = 1, ITEM_DIRECTORY = 0x19, FEATURE_DMA = 2 };
enum { CONTROL_ERROR = 1, CONTROL_READ = 2, CONTROL_SELECT = 8 };
enum { MOST_LOOKS = 1000000 };

static struct {
    uint32_t control, length; // big-endian, as the address
    uint64_t address;
} command __attribute__((aligned(64)));
static uint8_t answer[FW_CFG_MOST_BYTES] __attribute__((aligned(4096)));
static struct pf_spin lock; // protects these and the device

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

bool fw_cfg_open(const char *name, uint16_t *selector, uint32_t *bytes)
{
    uint64_t flags = pf_spin_lock(&lock);
    bool found = device_has_dma() && transfer(ITEM_DIRECTORY, sizeof answer) &&
                 fw_cfg_find(answer, sizeof answer, name, selector, bytes);
    pf_spin_unlock(&lock, flags);
    return found;
}

bool fw_cfg_read(uint16_t selector, void *out, uint32_t bytes)
{
    uint64_t flags = pf_spin_lock(&lock);
    bool done = transfer(selector, bytes);
    for (uint32_t i = 0; i < bytes && done; i++) {
        ((uint8_t *)out)[i] = answer[i];
        answer[i] = 0; // it may be a secret
    }
    pf_spin_unlock(&lock, flags);
    return done;
}

int pf_host_file(const char *name, void *out, size_t room, size_t *bytes)
{
    uint16_t selector;
    uint32_t count;
    *bytes = 0;
    if (!fw_cfg_open(name, &selector, &count)) {
        return -ENOENT;
    }
    if (count > room || count > FW_CFG_MOST_BYTES) {
        return -EFBIG;
    }
    if (count && !fw_cfg_read(selector, out, count)) {
        return -EIO;
    }
    *bytes = count;
    return 0;
}
