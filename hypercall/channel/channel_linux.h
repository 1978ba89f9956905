// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Channels for a Linux process: a file that is mapped, usually in /dev/shm, which QEMU gives to
// guests as well (memory-backend-file with share=on under ivshmem-plain; its size is a power of two
// then). Link build/lib/libtessera-channel.a and -lpthread.
//
// A file that shrinks while it is mapped kills with SIGBUS; only who may open it can do that, a
// guest cannot.
#ifndef HYPERCALL_CHANNEL_CHANNEL_LINUX_H
#define HYPERCALL_CHANNEL_CHANNEL_LINUX_H

#include "hypercall/channel/channel.h"

struct channel_linux;

// clock_gettime, getrandom, nanosleep: for blocks that the caller maps.
extern const struct channel_port channel_linux_port;

// Makes the file (mode 0600) with `bytes` bytes and a channel in it, or finds the same one there.
// 0 or a negative errno; `error` says why.
int channel_linux_create(const char *path, uint64_t bytes, const struct channel_format *format,
                         char *error, size_t error_bytes);
// Maps the file, takes an end, and beats from a thread of its own until it is closed. Errors of
// channel_attach and of the system; `error` says why.
int channel_linux_open(const char *path, uint32_t end, const struct channel_options *options,
                       struct channel_linux **out, char *error, size_t error_bytes);
// The handle, for channel.h's calls but channel_beat and channel_close.
struct channel *channel_linux_handle(struct channel_linux *l);
// Any tensor that is still owned is void after this. NULL is ignored.
void channel_linux_close(struct channel_linux *l);

#endif
