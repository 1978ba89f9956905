// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Virtqueues, split and packed, from the driver's side: pure logic over memory that the caller
// passes in, so the same code runs in the guest and in tests on the host. Source: virtio 1.2,
// 2.7 (split), 2.8 (packed).
//
// Trust: the device can write the ring at any time, so nothing that the driver decides by is ever
// read back from it. What is in flight is kept in `slots`, private memory; of the ring only the
// device's own fields are read, each once, and checked. A device that breaks the rules makes the
// queue `broken` for good (until vq_init); memory outside the ring is never touched.
//
// Locking: none here. One thread at a time on a queue; the caller has a lock or a single owner.
#ifndef LIBOS_VIRTIO_QUEUE_H
#define LIBOS_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VQ_MAX_SIZE     32768u
#define VQ_MAX_INDIRECT 256u

struct vq_segment {
    uint64_t phys;
    uint32_t bytes; // not 0
};

// One descriptor (split) or buffer id (packed), as the driver remembers it.
struct vq_slot {
    void *token;          // of the chain whose head or id this is; NULL: not in flight
    uint32_t writable;    // bytes of that chain the device may write
    uint16_t descriptors; // ring descriptors that chain occupies
    uint16_t next;        // split: next descriptor in chain or free list; packed: next free id
};

struct vq_config {
    bool packed;           // VIRTIO_F_RING_PACKED negotiated
    bool event_index;      // VIRTIO_F_EVENT_IDX negotiated
    uint16_t size;         // descriptors; split: a power of two
    uint16_t indirect;     // VIRTIO_F_INDIRECT_DESC: entries a table may have; 0: do not use
    void *ring;            // vq_ring_bytes() of DMA memory, aligned to 4096
    uint64_t ring_phys;    // its physical address
    struct vq_slot *slots; // `size` of them, the driver's own memory
};

struct vq {
    struct vq_config config;
    const char *broken; // NULL, or what the device did wrong
    uint64_t desc_phys, driver_phys, device_phys;
    uint8_t *desc, *driver, *device;
    uint8_t *tables; // indirect tables, one a slot
    uint64_t tables_phys;
    uint16_t free;              // descriptors free
    uint16_t free_head;         // of the list through slots[].next
    uint16_t in_flight;         // chains
    uint16_t avail;             // split: free-running index; packed: next position to fill
    uint16_t used;              // split: free-running index; packed: next position to look at
    uint16_t unkicked;          // descriptors made available since vq_kick_needed last looked
    bool avail_wrap, used_wrap; // packed: the lap's parity
    uint64_t added, taken;      // chains, for statistics
};

// Bytes of contiguous DMA memory for a queue, indirect tables included; 0 if the size is invalid.
size_t vq_ring_bytes(bool packed, uint16_t size, uint16_t indirect);

// Clears the memory and makes an empty queue. 0 or -EINVAL.
int vq_init(struct vq *q, const struct vq_config *config);

// Makes a chain available: `readable` segments the device reads, then `writable` ones it writes.
// token: not NULL, comes back from vq_take. 0, -ENOSPC (take some first), -EINVAL, -EIO (broken).
int vq_add(struct vq *q, const struct vq_segment *segments, unsigned readable, unsigned writable,
           void *token);

// Whether the device wants a notification for what was added since the last call. Full fence.
bool vq_kick_needed(struct vq *q);

// A chain the device has finished with, oldest first: its token and the bytes written into it
// (never more than it could hold). NULL: none, or the queue is broken.
void *vq_take(struct vq *q, uint32_t *written);
bool vq_has_used(const struct vq *q);

// Asks the device to interrupt at the next used chain. True if one is there already: take it, the
// interrupt may not come. Full fence.
bool vq_interrupts_on(struct vq *q);
// Asks it not to; a hint only.
void vq_interrupts_off(struct vq *q);

// Private to the two layouts (queue_split.c, queue_packed.c).
struct vq_descriptor { // 2.7.5; packed 2.8.13 has the same size
    uint64_t address;
    uint32_t bytes;
    uint16_t flags_or_id; // split: flags; packed: buffer id
    uint16_t next_or_flags;
};
_Static_assert(sizeof(struct vq_descriptor) == 16, "virtio 1.2, 2.7.5");
#define VQ_NEXT     1u
#define VQ_WRITE    2u
#define VQ_INDIRECT 4u
#define VQ_AVAIL    (1u << 7)
#define VQ_USED     (1u << 15)

void *vq_broken(struct vq *q, const char *why);
// The shadow of a finished chain: checks id and length, frees the slot. NULL if broken.
void *vq_complete(struct vq *q, uint32_t id, uint32_t bytes, uint16_t *descriptors);
// Physical address of slot `id`'s indirect table, which it fills.
struct vq_descriptor *vq_table(struct vq *q, uint16_t id, uint64_t *phys);
void vq_split_init(struct vq *q);
void vq_split_add(struct vq *q, const struct vq_segment *segments, unsigned readable,
                  unsigned writable, bool indirect, void *token, uint32_t bytes);
bool vq_split_kick_needed(struct vq *q);
void *vq_split_take(struct vq *q, uint32_t *written);
bool vq_split_has_used(const struct vq *q);
void vq_split_interrupts(struct vq *q, bool on);
void vq_packed_init(struct vq *q);
void vq_packed_add(struct vq *q, const struct vq_segment *segments, unsigned readable,
                   unsigned writable, bool indirect, void *token, uint32_t bytes);
bool vq_packed_kick_needed(struct vq *q);
void *vq_packed_take(struct vq *q, uint32_t *written);
bool vq_packed_has_used(const struct vq *q);
void vq_packed_interrupts(struct vq *q, bool on);

// Fields shared with the device. x86 is little-endian as the ring is; a 16-bit access is one
// access.
static inline uint16_t vq_load16(const void *p)
{
    return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}
static inline void vq_store16(void *p, uint16_t v)
{
    __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELEASE);
}
static inline uint32_t vq_load32(const void *p)
{
    return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
}

#endif
