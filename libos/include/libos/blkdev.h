// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A block device. Any strand may call; requests of several strands are in flight together.
#ifndef LIBOS_BLKDEV_H
#define LIBOS_BLKDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blkdev {
    const char *name;
    uint64_t bytes;       // capacity
    uint32_t block_bytes; // logical block, at least 512
    bool read_only, has_flush;
    uint64_t reads, writes, flushes, read_bytes, write_bytes, errors;
    void *driver;
};
size_t blkdev_count(void);
struct blkdev *blkdev_at(size_t i);
// Whole blocks; `data` any memory of ours. Blocks the strand. 0, -EIO, -EINVAL (out of range),
// -EROFS, -ETIMEDOUT.
int blkdev_read(struct blkdev *d, uint64_t offset, void *data, size_t bytes);
int blkdev_write(struct blkdev *d, uint64_t offset, const void *data, size_t bytes);
int blkdev_flush(struct blkdev *d);

#endif
