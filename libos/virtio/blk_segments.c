// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Page by page through the page tables, neighbours merged; see blk_segments.h.
#include "libos/virtio/blk_segments.h"

#include "platform/paging.h"

size_t blk_segments(const uint8_t *data, size_t bytes, uint32_t block_bytes, unsigned max_segments,
                    uint32_t segment_bytes, struct vq_segment *out, unsigned *count)
{
    size_t covered = 0;
    unsigned n = 0;
    while (covered < bytes) {
        const uint8_t *at = data + covered;
        size_t step = PF_PAGE - ((uintptr_t)at & (PF_PAGE - 1));
        step = step < bytes - covered ? step : bytes - covered;
        uint64_t phys = pf_virt_to_phys(at);
        if (phys == UINT64_MAX) {
            *count = 0;
            return 0;
        }
        bool merges =
            n && out[n - 1].phys + out[n - 1].bytes == phys && out[n - 1].bytes < segment_bytes;
        if (!merges && n == max_segments) {
            break;
        }
        if (!merges) {
            out[n++] = (struct vq_segment){phys, 0};
        }
        uint32_t room = segment_bytes - out[n - 1].bytes;
        step = step < room ? step : room;
        out[n - 1].bytes += (uint32_t)step;
        covered += step;
    }
    // Whole blocks only: take the excess off the end.
    size_t excess = covered % block_bytes;
    covered -= excess;
    while (excess) {
        uint32_t cut = excess < out[n - 1].bytes ? (uint32_t)excess : out[n - 1].bytes;
        out[n - 1].bytes -= cut;
        excess -= cut;
        n -= out[n - 1].bytes == 0;
    }
    *count = n;
    return covered;
}
