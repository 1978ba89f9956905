// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the files of this folder share.
#ifndef TESSERA_GUEST_PRIVATE_H
#define TESSERA_GUEST_PRIVATE_H

#include "hypercall/host/guest/guest.h"

// Writes the message and returns rc.
int guest_refuse(char *error, size_t error_bytes, int rc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void guest_say(const struct guest_host *h, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t guest_now_ms(void);
void guest_sleep_ms(long ms);

// ---- request.c ---------------------------------------------------------------------------------

int guest_choose_port(const struct guest_request *q, struct guest *g, char *error,
                      size_t error_bytes);
// Where libvirt is known: one that no domain has.
int guest_choose_name(struct guest_host *h, const struct guest_request *q, struct guest *g,
                      bool make, char *error, size_t error_bytes);

// ---- seat.c: the place at tensord --------------------------------------------------------------

// tensord with the model in it; chooses the region's size.
int guest_seat_model(struct guest_host *h, struct guest *g, char *error, size_t error_bytes);
// The place itself. A place of this name that is left from before is given up first.
int guest_seat_take(struct guest *g, char *error, size_t error_bytes);
// What tensord would say, for XML that is only shown.
int guest_seat_imagine(struct guest *g, char *error, size_t error_bytes);

// ---- lock.c ------------------------------------------------------------------------------------

// Runs at the same time take port and name one after the other. The lock, to close; or an errno.
int guest_lock(char *error, size_t error_bytes);

#endif
