// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// virtio-pmem: a file of the host mapped into guest physical memory. Mapped here read-only and
// write-back; the flush queue is never set up because nothing is ever written. Source:
// virtio 1.2, 5.19.
#include "libos/virtio/device.h"

#include "libos/log.h"
#include "platform/boot.h"
#include "platform/paging.h"

#include <errno.h>

#define CONFIG_START 0 // le64
#define CONFIG_SIZE  8 // le64
#define MAX_REGIONS  16u
#define PHYS_LIMIT   (1ull << 52)

static struct pmem_region regions[MAX_REGIONS]; // filled by virtio_init, then constant
static size_t region_count;

// A region that covers RAM would alias memory that changes under its reader.
static bool overlaps_ram(uint64_t start, uint64_t bytes)
{
    const struct pf_boot_info *boot = pf_boot_info();
    for (uint32_t i = 0; i < boot->range_count; i++) {
        const struct pf_range *r = &boot->ranges[i];
        if (r->type == PF_RANGE_RAM && start < r->base + r->length && r->base < start + bytes) {
            return true;
        }
    }
    return false;
}

int virtio_pmem_probe(struct virtio_device *d)
{
    int rc = virtio_start(d, 0, 0);
    if (rc) {
        return rc;
    }
    uint32_t words[4];
    rc = virtio_config_read(d, CONFIG_START, words, 4, 4);
    if (rc) {
        virtio_fail(d, "configuration does not stay still");
        return rc;
    }
    uint64_t start = words[0] | (uint64_t)words[1] << 32;
    uint64_t bytes = words[2] | (uint64_t)words[3] << 32;
    if (start == 0) {
        virtio_fail(d,
                    "the machine gave its region no address (QEMU's microvm has no device memory: "
                    "use -initrd or virtio-blk there)");
        return -ENODEV;
    }
    if (bytes == 0 || start >= PHYS_LIMIT || bytes > PHYS_LIMIT - start || (start & 4095) ||
        (bytes & 4095)) {
        virtio_fail(d, "its region is empty, out of bounds or not whole pages");
        return -EINVAL;
    }
    if (overlaps_ram(start, bytes)) {
        virtio_fail(d, "its region overlaps RAM");
        return -EINVAL;
    }
    if (region_count == MAX_REGIONS) {
        virtio_fail(d, "too many pmem devices");
        return -ENOSPC;
    }
    rc = virtio_ready(d);
    if (rc) {
        return rc;
    }
    void *data = pf_map_device(start, bytes, PF_PROT_READ, PF_CACHE_WB);
    if (!data) {
        virtio_fail(d, "no memory to map it");
        return -ENOMEM;
    }
    regions[region_count++] = (struct pmem_region){start, bytes, data};
    log_debug("pmem", "%s (%s): %llu KB at 0x%llx, read-only", d->name, d->location,
              (unsigned long long)bytes / 1024, (unsigned long long)start);
    return 0;
}

size_t pmem_count(void)
{
    return region_count;
}

const struct pmem_region *pmem_at(size_t i)
{
    return i < region_count ? &regions[i] : NULL;
}
