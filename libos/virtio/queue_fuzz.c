// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The fuzzer is the device: between the driver's steps it writes whatever it likes anywhere into
// the ring. What must hold: only tokens in flight come back, each once, with lengths they can hold;
// the counters stay within bounds; nothing outside the ring is touched (the sanitizer watches).
// Links: libos/virtio/queue.c libos/virtio/queue_split.c libos/virtio/queue_packed.c
#include "libos/virtio/queue.h"

#include <stdlib.h>
#include <string.h>

struct token {
    bool in_flight;
    uint32_t capacity;
};

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4) {
        return 0;
    }
    bool packed = data[0] & 1, events = data[0] & 2;
    uint16_t indirect = data[0] & 4 ? 3 : 0;
    uint16_t entries = (uint16_t)(packed ? 1 + data[1] % 16 : 1 << (data[1] % 5));
    data += 2;
    size -= 2;

    size_t bytes = vq_ring_bytes(packed, entries, indirect);
    // Exactly as long as asked for, so that the sanitizer sees a byte too far; aligned at the
    // front.
    uint8_t *ring = aligned_alloc(16, (bytes + 15) & ~15ul);
    struct vq_slot *slots = calloc(entries, sizeof(*slots));
    struct token tokens[64] = {{0}};
    struct vq q;
    struct vq_config c = {packed, events, entries, indirect, ring, (uintptr_t)ring, slots};
    must(vq_init(&q, &c) == 0);
    unsigned in_flight = 0;

    while (size >= 2) {
        uint8_t op = data[0], argument = data[1];
        data += 2;
        size -= 2;
        switch (op % 6) {
        case 0: { // the driver adds
            struct token *t = &tokens[argument % 64];
            struct vq_segment s[4];
            unsigned readable = argument & 1, writable = (argument >> 1) & 3;
            uint32_t capacity = 0;
            for (unsigned i = 0; i < readable + writable; i++) {
                s[i] = (struct vq_segment){0x1000, 1u + argument};
                capacity += i >= readable ? s[i].bytes : 0;
            }
            if (!t->in_flight && vq_add(&q, s, readable, writable, t) == 0) {
                *t = (struct token){true, capacity};
                in_flight++;
            }
            break;
        }
        case 1: { // the driver takes
            uint32_t written;
            struct token *t = vq_take(&q, &written);
            if (t) {
                must(t >= tokens && t < tokens + 64 && t->in_flight && written <= t->capacity);
                t->in_flight = false;
                in_flight--;
            }
            break;
        }
        case 2:
            (argument & 1) ? (void)vq_interrupts_on(&q) : vq_interrupts_off(&q);
            break;
        case 3:
            vq_kick_needed(&q);
            break;
        case 4: // the device writes bytes anywhere
            if (size >= 4) {
                size_t at = (size_t)(data[0] | data[1] << 8) % bytes;
                size_t n = 1 + argument % 8;
                n = n < size - 2 ? n : size - 2;
                n = n < bytes - at ? n : bytes - at;
                memcpy(ring + at, data + 2, n);
                data += 2 + n;
                size -= 2 + n;
            }
            break;
        default: // the device uses an entry, well-formed but of any content
            if (packed) {
                struct vq_descriptor *d = (struct vq_descriptor *)(void *)ring + q.used;
                d->flags_or_id = argument % 20;
                d->bytes = op;
                d->next_or_flags = q.used_wrap ? VQ_AVAIL | VQ_USED : 0;
            } else {
                uint32_t id = argument % 20, written = op;
                uint16_t index;
                memcpy(&index, q.device + 2, 2);
                uint8_t *e = q.device + 4 + 8 * (index % entries);
                memcpy(e, &id, 4);
                memcpy(e + 4, &written, 4);
                index++;
                memcpy(q.device + 2, &index, 2);
            }
            break;
        }
        must(q.in_flight == in_flight && q.free <= entries && in_flight <= entries);
    }
    free(ring);
    free(slots);
    return 0;
}
