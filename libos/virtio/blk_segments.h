// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Cuts a buffer of ours into physically contiguous segments for one block request.
#ifndef LIBOS_VIRTIO_BLK_SEGMENTS_H
#define LIBOS_VIRTIO_BLK_SEGMENTS_H

#include "libos/virtio/queue.h"

// Fills at most max_segments (each of at most segment_bytes) that cover the start of [data, data +
// bytes), a multiple of block_bytes in all. Returns the bytes covered; 0 if not one block fits or
// the memory is not mapped.
size_t blk_segments(const uint8_t *data, size_t bytes, uint32_t block_bytes, unsigned max_segments,
                    uint32_t segment_bytes, struct vq_segment *out, unsigned *count);

#endif
