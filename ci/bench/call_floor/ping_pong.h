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
// back. Sleeping: an eventfd each way, poll and read as with QEMU. 0, -ETIMEDOUT or another -errno.
int ping_pong(bool sleeping, uint64_t *ns, size_t count);

uint64_t now_ns(void);

#endif
