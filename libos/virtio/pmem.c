// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// virtio-pmem: a file of the host mapped into guest physical memory. Mapped here read-only and
// write-back; the flush queue is never set up because nothing is ever written. The same by
// ivshmem-plain where the machine has no device memory. Source: virtio 1.2, 5.19.
#include "libos/virtio/device.h"

#include "libos/ivshmem.h"
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

const char *pmem_check(uint64_t start, uint64_t bytes)
{
    if (bytes == 0 || start >= PHYS_LIMIT || bytes > PHYS_LIMIT - start || (start & 4095) ||
        (bytes & 4095)) {
        return "its region is empty, out of bounds or not whole pages";
    }
    return overlaps_ram(start, bytes) ? "its region overlaps RAM" : NULL;
}

static int pmem_add(uint64_t start, uint64_t bytes)
{
    if (region_count == MAX_REGIONS) {
        return -ENOSPC;
    }
    unsigned prot = PF_PROT_READ | (pf_protection_off("weights") ? PF_PROT_WRITE : 0u);
    void *data = pf_map_device(start, bytes, prot, PF_CACHE_WB);
    if (!data) {
        return -ENOMEM;
    }
    regions[region_count++] = (struct pmem_region){start, bytes, data};
    return 0;
}

// ivshmem-plain stands in for virtio-pmem on microvm, which has no device memory; sizes are powers
// of two there. Regions that are channels, or will be, are not weights.
void pmem_probe_ivshmem(void)
{
    for (size_t i = 0; i < ivshmem_plain_count(); i++) {
        const struct ivshmem_plain *r = ivshmem_plain_at(i);
        const uint64_t *first = pf_map_device(r->phys, PF_PAGE, PF_PROT_READ, PF_CACHE_WB);
        if (first && (*first == IVSHMEM_CHANNEL_MAGIC || *first == 0)) {
            continue;
        }
        if (!first || pmem_add(r->phys, r->bytes) != 0) {
            log_error("pmem", "ivshmem %s: no room to map it", r->location);
        }
    }
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
                    "use ivshmem-plain, virtio-blk or -initrd there)");
        return -ENODEV;
    }
    const char *why = pmem_check(start, bytes);
    if (why) {
        virtio_fail(d, why);
        return -EINVAL;
    }
    rc = virtio_ready(d);
    if (rc) {
        return rc;
    }
    rc = pmem_add(start, bytes);
    if (rc) {
        virtio_fail(d, "no room to map it");
        return rc;
    }
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
