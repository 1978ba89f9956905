// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Finds the model: mapped by the host (virtio-pmem), come with the boot (module, linked in), or on
// a disk that is the GGUF, which is read into memory with several reads in flight.
#include "apps/llm/guest.h"
#include "libos/blkdev.h"
#include "libos/log.h"
#include "libos/mem.h"
#include "libos/sched.h"
#include "libos/virtio.h"
#include "tensor/gguf.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENSOR_ALIGN 32u
#define FIRST_READ   (256u << 10)
#define MOST_HEADER  (64u << 20)
#define CHUNK        (512u << 10)
#define READERS      4u
#define READER_STACK (32u << 10)

struct find {
    struct found_model *out;
    char *problem;
    size_t problem_bytes;
};
#define SAY(f, ...) snprintf((f)->problem, (f)->problem_bytes, __VA_ARGS__)

// Tensor data must be aligned; a member of a cpio archive need not be.
static int take(const struct find *f, const void *data, size_t bytes, const char *name,
                const char *source)
{
    if ((uintptr_t)data % TENSOR_ALIGN) {
        void *copy = mem_zone_alloc(MEM_MODEL, bytes);
        if (!copy) {
            SAY(f,
                "no memory to align the model of %zu KB; give the machine more memory, or pass "
                "the GGUF as a module of its own",
                bytes >> 10);
            return -ENOMEM;
        }
        memcpy(copy, data, bytes);
        data = copy;
    }
    f->out->data = data;
    f->out->bytes = bytes;
    f->out->source = source;
    snprintf(f->out->name, sizeof f->out->name, "%s", name);
    return 0;
}

static int from_pmem(const struct find *f)
{
    for (size_t i = 0; i < pmem_count(); i++) {
        const struct pmem_region *p = pmem_at(i);
        if (p->bytes >= 4 && !memcmp(p->data, "GGUF", 4))
            return take(f, p->data, p->bytes, "", "mapped from the host (virtio-pmem)");
    }
    if (pmem_count())
        SAY(f, "the mapped file (virtio-pmem, %llu KB) is no model: it does not begin with GGUF",
            (unsigned long long)(pmem_at(0)->bytes >> 10));
    return -ENOENT;
}

static int from_boot(const struct find *f, enum boot_file_origin origin)
{
    for (size_t i = 0; i < boot_file_count(); i++) {
        const struct boot_file *b = boot_file_at(i);
        if (b->kind == BOOT_FILE_GGUF && b->origin == origin)
            return take(f, b->data, b->bytes, "",
                        origin == BOOT_FILE_MODULE ? "boot module" : "linked into the image");
    }
    return -ENOENT;
}

// ---- a disk ------------------------------------------------------------------------------------
struct disk_read {
    struct blkdev *disk;
    uint8_t *to;
    uint64_t bytes; // whole blocks
    _Atomic uint64_t next;
    _Atomic uint64_t done;
    _Atomic int error;
    _Atomic unsigned readers;
    struct wake progress;
};

static void read_chunks(void *arg)
{
    struct disk_read *r = arg;
    uint64_t at;
    strand_doing("reading the model");
    while (!atomic_load(&r->error) && (at = atomic_fetch_add(&r->next, CHUNK)) < r->bytes) {
        size_t n = r->bytes - at < CHUNK ? (size_t)(r->bytes - at) : CHUNK;
        int rc = blkdev_read(r->disk, at, r->to + at, n);
        if (rc)
            atomic_store(&r->error, rc);
        atomic_fetch_add(&r->done, n);
        wake_set(&r->progress);
    }
    atomic_fetch_sub(&r->readers, 1);
    wake_set(&r->progress);
}

// Blocks until all readers have ended, so that r and the memory may go away.
static int read_all(struct disk_read *r)
{
    unsigned shown = 0;
    for (unsigned i = 0; i < READERS; i++) {
        atomic_fetch_add(&r->readers, 1);
        if (strand_create("model-read", read_chunks, r, STRAND_NORMAL, STRAND_ANY_CPU, READER_STACK,
                          NULL)) {
            atomic_fetch_sub(&r->readers, 1);
            break;
        }
    }
    if (!atomic_load(&r->readers))
        return -ENOMEM;
    while (atomic_load(&r->readers)) {
        wake_wait(&r->progress, 0); // each read has its own time-out
        unsigned percent = (unsigned)(atomic_load(&r->done) * 100 / r->bytes);
        if (r->bytes > (32u << 20) && percent >= shown + 10 && percent < 100) {
            shown = percent / 10 * 10;
            log_info("llm", "reading the model: %u %% of %llu MB", shown,
                     (unsigned long long)(r->bytes >> 20));
        }
    }
    return atomic_load(&r->error);
}

// The header tells how much of the disk the model uses.
static int disk_extent(const struct find *f, struct blkdev *d, uint64_t *used)
{
    char error[300] = "";
    int rc = -EAGAIN;
    for (size_t have = FIRST_READ; rc == -EAGAIN; have *= 4) {
        if (have > d->bytes)
            have = (size_t)d->bytes;
        void *beginning = mem_zone_alloc(MEM_MODEL, have);
        if (!beginning) {
            SAY(f, "%s: no memory for the model's header (%zu KB)", d->name, have >> 10);
            return -ENOMEM;
        }
        rc = blkdev_read(d, 0, beginning, have / d->block_bytes * d->block_bytes);
        if (rc)
            SAY(f, "%s: the disk cannot be read (%s)", d->name, strerror(-rc));
        else if ((rc = gguf_extent(beginning, have, d->bytes, used, error, sizeof error)))
            SAY(f, "the disk %s holds no usable model: %s", d->name, error);
        mem_zone_free(beginning);
        if (rc == -EAGAIN && (have >= MOST_HEADER || have >= d->bytes))
            rc = -EINVAL;
    }
    return rc;
}

static int from_one_disk(const struct find *f, struct blkdev *d)
{
    uint64_t used = 0;
    if (d->bytes < d->block_bytes) {
        SAY(f, "the disk %s is empty", d->name);
        return -EINVAL;
    }
    int rc = disk_extent(f, d, &used);
    if (rc)
        return rc;
    struct disk_read r = {.disk = d, .progress = WAKE_INIT};
    r.bytes = (used + d->block_bytes - 1) / d->block_bytes * d->block_bytes;
    r.to = mem_zone_alloc(MEM_MODEL, r.bytes);
    if (!r.to) {
        struct mem_stats s;
        mem_get_stats(&s);
        SAY(f,
            "no memory for the model: it has %llu MB, %llu MB are free; give the machine more "
            "memory, or map the file (virtio-pmem), which needs none",
            (unsigned long long)(used >> 20), (unsigned long long)(s.free_bytes >> 20));
        return -ENOMEM;
    }
    rc = read_all(&r);
    if (rc) {
        SAY(f, "%s: reading the model failed (%s)", d->name, strerror(-rc));
        mem_zone_free(r.to);
        return rc;
    }
    f->out->data = r.to;
    f->out->bytes = used;
    f->out->name[0] = 0;
    f->out->source = "read from a disk (virtio-blk)";
    return 0;
}

static int from_disk(const struct find *f)
{
    int rc = -ENOENT;
    for (size_t i = 0; i < blkdev_count(); i++)
        if (!(rc = from_one_disk(f, blkdev_at(i))))
            return 0;
    return rc;
}

// ---- which -------------------------------------------------------------------------------------
int model_find(const struct manifest *m, struct found_model *out, char *problem,
               size_t problem_bytes)
{
    struct find f = {out, problem, problem_bytes};
    enum model_source wanted = m->model_source;
    int rc = -ENOENT;
    problem[0] = 0;
    // What the image itself brings is what it was sealed with.
    if (wanted == MODEL_AUTO || wanted == MODEL_LINKED)
        rc = from_boot(&f, BOOT_FILE_IMAGE);
    if (rc && (wanted == MODEL_AUTO || wanted == MODEL_PMEM))
        rc = from_pmem(&f);
    if (rc && (wanted == MODEL_AUTO || wanted == MODEL_MODULE))
        rc = from_boot(&f, BOOT_FILE_MODULE);
    if (rc && (wanted == MODEL_AUTO || wanted == MODEL_LINKED))
        rc = from_boot(&f, BOOT_FILE_LINKED);
    if (rc && (wanted == MODEL_AUTO || wanted == MODEL_BLK))
        rc = from_disk(&f);
    if (rc && !problem[0]) {
        static const char *const what[] = {"", "mapped file (virtio-pmem)", "disk (virtio-blk)",
                                           "boot module", "linked-in file"};
        if (wanted == MODEL_AUTO)
            SAY(&f, "no model: give the machine a GGUF file as a mapped file (virtio-pmem), a disk "
                    "(virtio-blk), a boot module (-initrd), or link one into the image");
        else
            SAY(&f, "no model: model.source asks for a %s and there is none with a GGUF file",
                what[wanted]);
    }
    return rc;
}
