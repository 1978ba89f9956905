// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tensor channels: tensors travel between MEUs of a guest, between guests, and between a guest and
// a process of the host, through a block of memory that all of them map. Ownership of a slot
// travels; its bytes stay where they are.
//
//   sender:   channel_lend → fill tensor.data → channel_send
//   receiver: channel_receive → use tensor.data in place → channel_release
//
// Kinds: a PIPE has one sender and one receiver, or a row of ends of which each hands on what it
// receives (channel_receive → channel_send), the same slot all the way; the sender waits when all
// slots are under way. BIDIRECTIONAL is a PIPE each way. BROADCAST: every receiver sees every
// tensor from the moment it joins; the slot comes back when all have released it. RING: the sender
// never waits, the oldest unread tensor gives way, and the receiver learns how many were lost.
//
// Error handling. Functions return 0 or a negative errno; channel_reason says it in words.
//   -ETIMEDOUT  nothing within the time given
//   -ESHUTDOWN  the peer has closed its end (a receiver gets what was sent before that first)
//   -EPIPE      the peer has stopped beating: it died, or stands still
//   -ENOTCONN   the peer has started anew, or this end has not called channel_connect
//   -EPROTO     the peer has broken the rules; this end is closed and stays so
//   -ESTALE     another process has taken this end over
//   -EINVAL     the caller's mistake; nothing has changed
// After -EPIPE, -ESHUTDOWN and -ENOTCONN channel_connect waits for a peer and starts a clean
// session: nothing of the old one is delivered, and tensors that were held are void (release and
// send refuse them with -ENOTCONN). The sender of a BROADCAST or RING never gets these: receivers
// come and go, the dead and the lying ones are cut off.
//
// What arrives is data from outside: type, shape and size are checked and are the receiver's own
// copies, but whoever maps the block can write into a slot at any time. A receiver that is cut off
// while it reads learns so from channel_release (-ENOTCONN): what it has read may be torn.
//
// Threads: a handle belongs to one thread at a time; channel_beat may run beside it.
#ifndef HYPERCALL_CHANNEL_CHANNEL_H
#define HYPERCALL_CHANNEL_CHANNEL_H

#include "hypercall/abi/channel.h"
#include "tensor/types.h"

#include <stdbool.h>

struct channel;

// What the code needs of its surroundings. ctx is handed to each.
struct channel_port {
    void *ctx;
    uint64_t (*now_ns)(void *ctx); // monotonic
    uint64_t (*random)(void *ctx);
    void (*rest)(void *ctx, uint64_t ns); // sleeps about so long; 0: lets others run
    void (*look)(void *ctx);              // once an operation; may be NULL
    // Something was passed to that end, which may be in rest(); may be NULL. From any operation.
    void (*wake)(void *ctx, uint32_t end);
};

struct channel_format {
    uint32_t kind;       // enum hc_channel_kind
    uint32_t ends;       // 0: two
    uint32_t slots;      // 0: as many as fit
    uint64_t slot_bytes; // the largest tensor; rounded up to HC_CHANNEL_SLOT_ALIGN
};

struct channel_options {
    uint64_t dead_ns; // a peer that does not beat for so long is dead; 0: 2 s
    uint32_t spin;    // looks before a wait yields and then sleeps; 0: 2000
    bool take_over;   // do not wait to see whether the end's owner still beats
};

#define CHANNEL_BEAT_NS 100000000ull // call channel_beat this often

struct channel_tensor {
    uint32_t type; // enum tn_type
    uint32_t dims; // 1 … 4
    uint64_t shape[HC_CHANNEL_DIMS];
    uint32_t tag;   // the application's; travels along
    void *data;     // in the block; owned from lend or receive until send or release
    uint64_t bytes; // received: of the data
    uint64_t room;  // of the slot
    uint64_t lost;  // received from a RING: overwritten since the one before
    // The channel's own:
    uint32_t slot, serial;
};

// Bytes of a tensor; 0, -EINVAL (unknown or packed type, dims, rows that are no whole blocks,
// overflow; shape[dims…] must be 1).
int channel_tensor_bytes(uint32_t type, uint32_t dims, const uint64_t *shape, uint64_t *bytes);

// Writes the layout into a block (page-aligned, zeroed or a channel already). The same format
// again changes nothing. 0, -EINVAL, -EEXIST (another channel lies there); `error` says why.
int channel_create(void *block, size_t bytes, const struct channel_format *format, char *error,
                   size_t error_bytes);

// Takes an end. The block must outlive the handle. options may be NULL. If the end has an owner,
// waits until that has been silent for dead_ns. 0, -ENODEV (no channel there yet), -EPROTO (its
// header is wrong), -EBUSY (the end's owner lives), -EINVAL, -ENOMEM; `error` says why.
int channel_attach(void *block, size_t bytes, uint32_t end, const struct channel_port *port,
                   const struct channel_options *options, struct channel **out, char *error,
                   size_t error_bytes);

// Waits for the neighbours (the sender of a BROADCAST or RING: for one receiver) and starts a clean
// session. After -ETIMEDOUT call it again: it goes on.
int channel_connect(struct channel *c, uint64_t timeout_ns);

// An empty slot. The caller fills data, type, dims, shape and tag. -ENOBUFS: a RING's caller holds
// too many.
int channel_lend(struct channel *c, uint64_t timeout_ns, struct channel_tensor *tensor);
// Passes ownership on, of a lent tensor, or in the middle of a PIPE of a received one. On -EINVAL
// the tensor is still the caller's.
int channel_send(struct channel *c, struct channel_tensor *tensor);
// The next tensor, in place. -ENOBUFS: a RING's receiver may hold half of the slots.
int channel_receive(struct channel *c, uint64_t timeout_ns, struct channel_tensor *tensor);
// Gives back a received tensor, or a lent one unsent.
int channel_release(struct channel *c, struct channel_tensor *tensor);
// Waits until all that was sent has been released, so that closing loses nothing.
int channel_drain(struct channel *c, uint64_t timeout_ns);

// The sender of a BROADCAST: cuts off a receiver that holds up the others. 0, -EINVAL.
int channel_drop(struct channel *c, uint32_t end);
// Receivers that a sender serves now.
uint32_t channel_receivers(const struct channel *c);

// Shows the peers that this end lives. -ESTALE: the end is another's now; stop calling.
int channel_beat(struct channel *c);
// Tells the peers and frees the handle. Stop beating before. c may be NULL.
void channel_close(struct channel *c);

// What the last failure was; never NULL.
const char *channel_reason(const struct channel *c);
const struct channel_format *channel_format_of(const struct channel *c);

#endif
