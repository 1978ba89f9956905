// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: a guest without manners. It writes what it likes where it likes, through no client
// that would stop it, and only waits where a test wants an answer.
#ifndef TENSORD_RAW_HOST_H
#define TENSORD_RAW_HOST_H

#include "hypercall/host/tensord/play_host.h"

enum { RAW_ARGUMENTS = 1 << 18, RAW_PAGES = 16 };
struct raw_guest {
    struct hc_connection connection;
    uint8_t *region;
    uint64_t bytes;
    struct hc_guest_page *page;
    struct hc_host_page *host;
    struct hc_identity identity;
    uint32_t tail, head; // ours: submissions written, completions taken
    uint64_t tag;
    uint32_t arguments, kv, model;
    uint64_t arguments_at, kv_at, kv_bytes;
    uint64_t ended; // calls whose end was taken
};

// Makes the seat known ("" or ",\"weight\":1") and takes it.
void raw_join(struct play_daemon *d, struct raw_guest *g, const char *name, const char *policy);
int raw_connect(struct raw_guest *g, const char *path); // to a seat that is known: 0 or an errno
void raw_leave(struct raw_guest *g);
void raw_attach(struct raw_guest *g); // asks, and waits until it is served
void raw_settle(struct raw_guest *g); // attaches, takes buffers, opens the model
void raw_ring(const struct raw_guest *g, unsigned vector);
// Writes a submission without looking for room, and rings. Its tag is chosen here.
uint64_t raw_submit(struct raw_guest *g, struct hc_submission s);
uint64_t raw_call(struct raw_guest *g, uint16_t call, uint64_t a, uint64_t b, uint64_t c);
// Takes completions until the call ends: its status (0 or a positive enum hc_status), which must
// be one that there is; -1: the guest is not served any more.
int raw_end(struct raw_guest *g, uint64_t tag, uint64_t value[2]);
bool raw_is_served(const struct raw_guest *g);
// A sound run's arguments at `at` of the arguments; reads `count` tokens, makes `most`.
struct hc_run *raw_run(struct raw_guest *g, uint32_t at, uint32_t count, uint32_t most);

void raw_pause_ms(long ms);
#endif
