// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tensor channels: the layout of a block of memory that guests, MEUs and processes of the host
// share (ivshmem-plain between guests). hypercall/channel/README.md has the protocol in words. All
// values are little-endian. Every word has one writer, named here; but whoever maps the block can
// write all of it, so a reader copies a value once, then checks it.
#ifndef HYPERCALL_ABI_CHANNEL_H
#define HYPERCALL_ABI_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#define HC_CHANNEL_MAGIC 0x314e414843525354ull // "TSRCHAN1"
#define HC_CHANNEL_ABI   1u

enum hc_channel_kind {
    HC_CHANNEL_PIPE = 1,          // end 0 to 1 (to 2 … to the last); waits when full
    HC_CHANNEL_BIDIRECTIONAL = 2, // end 0 to 1 and 1 to 0
    HC_CHANNEL_BROADCAST = 3,     // end 0 to each other; waits for the slowest
    HC_CHANNEL_RING = 4,          // end 0 to 1; overwrites what is unread instead of waiting
};

enum {
    HC_CHANNEL_MAX_ENDS = 9,
    HC_CHANNEL_MAX_LANES = 8, // a lane: one direction between two ends
    HC_CHANNEL_MIN_SLOTS = 2,
    HC_CHANNEL_MAX_SLOTS = 4096,
    HC_CHANNEL_SLOT_ALIGN = 128, // slot_bytes is a multiple
    HC_CHANNEL_DIMS = 4,
    HC_CHANNEL_LANES = 4096, // offset of lane 0; the header and the ends lie before it
    HC_CHANNEL_PAGE = 4096,  // slot 0 starts at a multiple
};

// Offset 0. Written by the creator; the magic comes last and nothing changes after that.
struct hc_channel_header {
    uint64_t magic;
    uint32_t abi;
    uint32_t kind;       // enum hc_channel_kind
    uint32_t ends;       // 2 … HC_CHANNEL_MAX_ENDS
    uint32_t slots;      // in a pool; a pool each way for HC_CHANNEL_BIDIRECTIONAL, one otherwise
    uint64_t slot_bytes; // room for one tensor
    uint64_t block_bytes;
    uint8_t unused[88];
};

enum hc_channel_end_state { HC_END_EMPTY = 0, HC_END_OPEN = 1, HC_END_CLOSED = 2 };

// After the header, one for each end; written by that end alone.
struct hc_channel_end {
    uint64_t owner;      // a random number of who has this end now, by compare and swap; 0 nobody
    uint32_t state;      // enum hc_channel_end_state
    uint32_t generation; // random, another one each time this end starts anew; never 0 when open
    uint64_t heartbeat;  // grows while its owner lives
    uint8_t unused[104];
};

// The sending end's words of a lane.
struct hc_channel_source {
    uint64_t welcome; // the hello that this end has answered; the lane lives while they are equal
    uint64_t tail;    // tensors sent in this session
    uint8_t unused[112];
};

// The receiving end's words of a lane.
struct hc_channel_sink {
    uint64_t hello;    // sender's generation << 32 | random; 0: none
    uint64_t head;     // tensors taken; of a RING the sender too, by compare and swap
    uint64_t returned; // slots given back
    uint8_t unused[104];
};

// One tensor on its way: entry `sequence % slots` of a lane, written by the sending end.
struct hc_channel_tensor {
    uint64_t sequence; // 0 for the first one of a session
    uint64_t offset;   // of its slot, from the start of the block
    uint64_t bytes;    // what type and shape come to; at most slot_bytes
    uint64_t shape[HC_CHANNEL_DIMS];
    uint16_t type; // GGUF's numbers (tensor/types.h)
    uint16_t dims; // 1 … 4; the others of shape are 1
    uint32_t tag;  // the application's
};

_Static_assert(sizeof(struct hc_channel_header) == 128, "ABI");
_Static_assert(offsetof(struct hc_channel_header, slot_bytes) == 24, "ABI");
_Static_assert(offsetof(struct hc_channel_header, block_bytes) == 32, "ABI");
_Static_assert(sizeof(struct hc_channel_end) == 128, "ABI");
_Static_assert(offsetof(struct hc_channel_end, generation) == 12, "ABI");
_Static_assert(offsetof(struct hc_channel_end, heartbeat) == 16, "ABI");
_Static_assert(sizeof(struct hc_channel_source) == 128, "ABI: writers stand 128 bytes apart");
_Static_assert(sizeof(struct hc_channel_sink) == 128, "ABI: writers stand 128 bytes apart");
_Static_assert(sizeof(struct hc_channel_tensor) == 64, "ABI");
_Static_assert(offsetof(struct hc_channel_tensor, shape) == 24, "ABI");
_Static_assert(offsetof(struct hc_channel_tensor, type) == 56, "ABI");
_Static_assert(sizeof(struct hc_channel_header) +
                       HC_CHANNEL_MAX_ENDS * sizeof(struct hc_channel_end) <=
                   HC_CHANNEL_LANES,
               "ABI");

// A lane: its source, its sink, `slots` tensors, then `slots` 32-bit numbers of slots given back
// (written by the receiving end), the whole rounded up to 128 bytes.
static inline uint64_t hc_channel_lane_bytes(uint32_t slots)
{
    uint64_t returns = ((uint64_t)slots * 4 + 127) & ~127ull;
    return sizeof(struct hc_channel_source) + sizeof(struct hc_channel_sink) +
           slots * sizeof(struct hc_channel_tensor) + returns;
}

static inline uint32_t hc_channel_lane_count(uint32_t kind, uint32_t ends)
{
    return kind == HC_CHANNEL_BIDIRECTIONAL ? 2 : ends - 1;
}

static inline uint32_t hc_channel_pool_count(uint32_t kind)
{
    return kind == HC_CHANNEL_BIDIRECTIONAL ? 2 : 1;
}

// Offset of slot 0 of pool 0; the pools follow each other.
static inline uint64_t hc_channel_slots_offset(uint32_t kind, uint32_t ends, uint32_t slots)
{
    uint64_t end =
        HC_CHANNEL_LANES + hc_channel_lane_count(kind, ends) * hc_channel_lane_bytes(slots);
    return (end + HC_CHANNEL_PAGE - 1) & ~(uint64_t)(HC_CHANNEL_PAGE - 1);
}

#endif
