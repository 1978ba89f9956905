// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A configuration space that answers with arbitrary bytes: the walk must end, within its tables,
// and BARs that were placed must lie in a window and not on one another.
// Links: platform/pci/enumerate.c platform/pci/assign.c
#include "platform/pci/config.h"

#include <stdlib.h>
#include <string.h>

enum { FUNCTIONS = 16, BYTES = 128 };
static uint32_t space[FUNCTIONS][BYTES / 4];
static unsigned accesses;

// Few functions, spread over all buses, so that bridges find something behind them.
static uint32_t *word(uint16_t bdf, uint16_t offset)
{
    unsigned slot = (bdf >> 3 & 7u) * 2u + (bdf >> 8 & 1u);
    if (++accesses > 2000000) {
        abort();
    }
    return (bdf & 7) == 0 && (bdf >> 3 & 31u) < 8 && offset < BYTES ? &space[slot][offset / 4]
                                                                    : NULL;
}

static uint32_t get(void *ctx, uint16_t bdf, uint16_t offset)
{
    (void)ctx;
    const uint32_t *w = word(bdf, offset);
    return w ? *w : UINT32_MAX;
}

static void put(void *ctx, uint16_t bdf, uint16_t offset, uint32_t value)
{
    (void)ctx;
    uint32_t *w = word(bdf, offset);
    if (w && offset >= PCI_BAR0 && offset < PCI_BAR0 + 24) {
        // Half of the BARs have writable bits by their number, the others do as they like.
        uint32_t mask = offset & 4 ? ~0u << (offset + bdf % 7) % 28 : *w;
        *w = (value & mask) | (*w & ~mask);
    } else if (w) {
        *w = value;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pci_tree t;
    const struct pci_windows w = {{0xe0000000, 0xfe000000}, {0x4000000000, 0x8000000000}};
    memset(space, 0xff, sizeof(space));
    memcpy(space, data, size < sizeof(space) ? size : sizeof(space));
    accesses = 0;
    t.config = (struct pci_config){get, put, NULL, 0, PCI_MAX_BUSES - 1};
    pci_enumerate(&t);
    if (t.count > PCI_MAX_DEVICES || t.bridge_count > PCI_MAX_BUSES) {
        abort();
    }
    static uint64_t before[PCI_MAX_DEVICES][6];
    for (size_t i = 0; i < t.count; i++) {
        pci_size_bars(&t.config, &t.device[i]);
        for (unsigned b = 0; b < 6; b++) {
            before[i][b] = t.device[i].bar[b].base;
        }
    }
    pci_assign(&t, &w);
    for (size_t i = 0; i < t.count; i++) {
        for (unsigned b = 0; b < 6; b++) {
            uint64_t base = t.device[i].bar[b].base, bytes = t.device[i].bar[b].bytes;
            bool low = base >= w.low.base && base + bytes <= w.low.end;
            bool high = base >= w.high.base && base + bytes <= w.high.end;
            if (base != before[i][b] && !low && !high) {
                abort();
            }
        }
    }
    return 0;
}
