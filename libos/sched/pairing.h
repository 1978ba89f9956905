// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A pairing heap of timers by deadline; nothing is allocated. Fredman et al., "The pairing heap",
// 1986. Uses priv[0] child, priv[1] next sibling, priv[2] the parent (of a first child) or the left
// sibling.
#ifndef LIBOS_SCHED_PAIRING_H
#define LIBOS_SCHED_PAIRING_H

#include "libos/sched.h"

// The new root.
struct sched_timer *pairing_insert(struct sched_timer *root, struct sched_timer *t);
struct sched_timer *pairing_remove(struct sched_timer *root, struct sched_timer *t);

#endif
