// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any configuration space and any register contents: probing, negotiating and starting a queue stay
// within the BAR (the sanitizer watches its heap block).
//
// Links: libos/virtio/pci.c libos/virtio/pci_host.c libos/virtio/device.c libos/virtio/queue.c
// Links: libos/virtio/queue_split.c libos/virtio/queue_packed.c libos/virtio/fake_host.c
#include "libos/virtio/pci_host.h"
#include "libos/virtio/sim_host.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_driver(uint32_t type)
{
    return type == VIRTIO_NET || type == VIRTIO_BLK || type == VIRTIO_RNG || type == VIRTIO_PMEM;
}

static void found(const struct virtio_device *model)
{
    struct virtio_device d = *model;
    struct vq q = {0};
    uint8_t config[32];
    if (virtio_start(&d, ~0ull, 0) != 0) {
        // Plain memory never reads back as a device that reset; go on as if it had.
        d.broken = NULL;
    }
    virtio_config_read(&d, 0, config, 8, 4);
    virtio_interrupts(&d, 2);
    for (unsigned i = 0; i < 3; i++) {
        if (virtio_queue_start(&d, i, 64, 4, &q) == 0) {
            d.ops->notify(&d, i);
        }
    }
    free(q.config.ring);
    free(q.config.slots);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8) {
        return 0;
    }
    uint32_t bytes = (uint32_t)(data[0] | data[1] << 8) % 1024;
    pci_host_make((uint16_t)(0x1000 + data[2] % 0x80), data[3], data[4] % 6, bytes);
    pci_host_device.msix_cap = data[5] & 1 ? 0x98 : 0;
    pci_host_device.msix_count = data[6] % 8;
    data += 8;
    size -= 8;
    size_t n = size < 256 ? size : 256;
    memcpy(pci_host_config, data, n);
    data += n;
    size -= n;
    memcpy(pci_host_bar(), data, size < bytes ? size : bytes);
    virtio_pci_probe(has_driver, found);
    return 0;
}
