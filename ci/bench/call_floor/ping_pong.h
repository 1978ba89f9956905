// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Round trips between two processes of the host: what the machine itself costs, without a guest.
#ifndef CALL_FLOOR_PING_PONG_H
#define CALL_FLOOR_PING_PONG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Fills ns[count] with one duration a round trip. Spinning: a word of shared memory there and one
// back. Sleeping: an eventfd each way, poll and read as with QEMU. The other process goes to core
// `other_core`, if that is not negative. 0, -ETIMEDOUT or another -errno.
int ping_pong(bool sleeping, int other_core, uint64_t *ns, size_t count);
// Binds the calling thread to a core; a negative one: leaves it. 0 or -errno.
int bind_to_core(int core);

uint64_t now_ns(void);

#endif
