// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: the daemon in a process of its own, processes that play guests, a small model, and
// what the native engine says of it. The test's main must be play_main, because the holder starts
// its worker as another instance of its own program.
#ifndef TENSORD_PLAY_HOST_H
#define TENSORD_PLAY_HOST_H

#include "hypercall/abi/ring.h"
#include "hypercall/guest/client.h"
#include "hypercall/guest/connect_host.h"
#include "tensor/infer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

struct play_daemon {
    pid_t holder;
    char dir[64], control[96], model[96];
    struct hc_identity identity;
    void *file; // the model's bytes
    size_t file_bytes;
    struct tn_model *tensor_model;
    struct tn_model_info info;
};
// Starts it with one model of the synthetic kind; `extra`: more options, ends with NULL.
void play_start(struct play_daemon *d, const char *const *extra);
void play_stop(struct play_daemon *d);
// One request on the control socket; the answer is the caller's to free. NULL: none.
char *play_control(const struct play_daemon *d, const char *request);
// A whole number after "key": in a JSON text, -1: not there.
long play_number(const char *json, const char *key);

enum { PLAY_KV_PAGES = 64, PLAY_ARGUMENTS = 1 << 20 };
struct play_event {
    uint64_t tag;
    uint16_t call, kind;
    int32_t status;
    uint64_t value[2];
};
struct play_guest {
    struct hc_connection connection;
    struct hc_client client;
    uint32_t arguments, kv; // buffers
    uint64_t arguments_at, kv_at;
    uint32_t model;
    uint64_t page_bytes;
    struct play_event *events; // delivered, oldest first
    size_t count, space;
};
// `name`: made known to the daemon by add-guest with more JSON members in `policy` ("" or
// ",\"weight\":1").
void play_join(struct play_daemon *d, struct play_guest *g, const char *name, const char *policy);
void play_leave(struct play_guest *g);
// Attaches (again), opens the model, takes buffers for arguments and KV.
void play_attach(struct play_daemon *d, struct play_guest *g);
struct hc_completion play_call(struct play_guest *g, uint16_t call, uint64_t a, uint64_t b,
                               uint64_t c);

// Arguments of a run of `count` tokens from position 0 at place `slot` (0…7, each with
// PLAY_KV_PAGES / 8 pages of its own): greedy, no stops.
struct hc_run *play_run_at(struct play_guest *g, unsigned slot);
struct hc_run play_run(struct play_guest *g, unsigned slot, const int32_t *tokens, uint32_t count,
                       uint32_t most);
uint64_t play_submit(struct play_guest *g, unsigned slot, const struct hc_run *run);
// Waits for the end of a call; its tokens are copied to `made` (room for `most`). The end's status.
int play_end(struct play_guest *g, uint64_t tag, int32_t *made, uint32_t most, uint32_t *count,
             uint64_t *reason);
// What the native engine makes of it at this machine's best level with `sampling`.
uint32_t play_native(struct play_daemon *d, const int32_t *tokens, uint32_t count, uint32_t most,
                     const struct tn_sampling *sampling, int32_t *made);
void play_tokens(int32_t *tokens, uint32_t count, uint32_t seed);

int play_main(int argc, char **argv, int (*tests)(void));

#endif
