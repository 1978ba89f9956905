// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Channels in a guest: over an ivshmem-plain region, to other guests and the host; or over memory
// of the guest itself, between its MEUs. A strand of the highest priority beats for each end, on
// the last CPU: on a guest with one CPU an application that neither waits nor calls sched_relax for
// two seconds looks dead to its peers.
#ifndef HYPERCALL_CHANNEL_CHANNEL_GUEST_H
#define HYPERCALL_CHANNEL_CHANNEL_GUEST_H

#include "hypercall/channel/channel.h"

struct channel_guest;

// Any strand. `region` counts the ivshmem-plain regions that are channels or hold zeros, in bus
// order. 0, -ENOENT (no such region), -ENODEV (nobody has made the channel yet), -ENOTSUP (a
// RING on an emulated machine with one CPU), -ENOMEM, errors of channel_attach; `error` says why.
int channel_guest_open(size_t region, uint32_t end, const struct channel_options *options,
                       struct channel_guest **out, char *error, size_t error_bytes);
// The same over a block that the caller has made a channel of (channel_create) and keeps.
int channel_guest_open_block(void *block, size_t bytes, uint32_t end,
                             const struct channel_options *options, struct channel_guest **out,
                             char *error, size_t error_bytes);
// The handle, for channel.h's calls but channel_beat and channel_close; one strand at a time.
struct channel *channel_guest_handle(struct channel_guest *g);
// Any tensor that is still owned is void after this. NULL is ignored.
void channel_guest_close(struct channel_guest *g);

#endif
