// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Memory zones. One physical page allocator (4 KB and 2 MB blocks from the firmware's memory map)
// behind five zones that account, bound and place: TENSOR and MODEL in 2 MB blocks where the size
// is worth it, DMA contiguous and resident, STORE and KERNEL in 4 KB pages. malloc lives in
// KERNEL (slab classes 16…2048, larger blocks page-granular with an unmapped guard page after
// them).
#ifndef LIBOS_MEM_H
#define LIBOS_MEM_H

#include <stddef.h>
#include <stdint.h>

enum mem_zone { MEM_TENSOR, MEM_MODEL, MEM_DMA, MEM_STORE, MEM_KERNEL, MEM_ZONE_COUNT };

struct mem_zone_stats {
    const char *name;
    uint64_t used_bytes; // now, whole pages
    uint64_t peak_bytes;
    uint64_t limit_bytes; // most this zone may hold; from the manifest or derived from RAM
    uint64_t allocations, frees, failures;
};
struct mem_stats {
    uint64_t ram_bytes;  // usable RAM found
    uint64_t free_bytes; // now
    uint64_t image_bytes;
    struct mem_zone_stats zone[MEM_ZONE_COUNT];
    uint64_t slab_bytes[8];      // in use by class 16, 32, … 2048
    uint64_t mapped_model_bytes; // device memory mapped (virtio-pmem), not RAM
};

// Zeroed, page-aligned (2 MB-aligned if the zone uses 2 MB blocks and bytes >= 2 MB). Virtually
// contiguous; physically too for MEM_DMA. NULL when the zone's limit or RAM is exhausted. Any
// strand.
void *mem_zone_alloc(enum mem_zone zone, size_t bytes);
// The same without clearing, for buffers that are written before they are read (clearing touches
// memory).
void *mem_zone_alloc_raw(enum mem_zone zone, size_t bytes);
void mem_zone_free(void *block);
// DMA helper: physical address of a block from MEM_DMA.
uint64_t mem_phys(const void *block);
void mem_get_stats(struct mem_stats *out);
// Counts device memory that holds a model (mem_stats.mapped_model_bytes).
void mem_add_mapped_model(uint64_t bytes);
// Called once by pf_main before anything else of the libos.
void mem_init(void);
// Bound of a zone in bytes (0 = derived); called from the manifest before first use.
void mem_zone_limit(enum mem_zone zone, uint64_t bytes);

#endif
