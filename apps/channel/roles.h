// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What an end of a channel does in tests and measurements; the same code in a guest (main.c) and
// on the host (native_main.c).
#ifndef APPS_CHANNEL_ROLES_H
#define APPS_CHANNEL_ROLES_H

#include "hypercall/channel/channel.h"

enum role { ROLE_PRODUCE, ROLE_RELAY, ROLE_CONSUME, ROLE_PING, ROLE_PONG, ROLE_COUNT };
// How much of each tensor is written and compared: its first 16 bytes, eight bytes of each 4 KB,
// all.
enum check { CHECK_NONE, CHECK_SAMPLED, CHECK_FULL, CHECK_COUNT };

extern const char *const role_names[ROLE_COUNT];
extern const char *const check_names[CHECK_COUNT];

struct role_options {
    enum role role;
    enum check check;
    uint32_t end;
    uint64_t count;      // tensors in a session
    uint64_t bytes;      // of each, a multiple of 8, at least 16
    uint32_t sessions;   // tries: another one when a session breaks
    uint64_t timeout_ns; // of each operation
    uint64_t pace_ns;    // the producer sleeps so long after each tensor
    uint64_t (*now_ns)(void);
    void (*print)(const char *line); // without a newline
};

struct role_result {
    uint64_t tensors, bytes, bad, lost, ns;
};

// Runs sessions until one is whole. 0, or the errno of the last failure; both are printed.
int role_run(struct channel *c, const struct role_options *o, struct role_result *result);
// Writes tensor `number` to memory and compares it, without a channel. False: it differs.
bool role_fill_and_compare(const struct role_options *o, void *data, uint64_t number);
// Index of `name` in names, or -1.
int role_find(const char *const *names, int count, const char *name);

#endif
