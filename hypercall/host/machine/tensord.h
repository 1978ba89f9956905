// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Talking to `tensord`, the daemon that computes for guests: one JSON object a line over its
// control socket, one line back. It is a user's own; the tool starts it when it does not answer.
//
// Errors as in machine.h. Threads: a connection belongs to one.
#ifndef TESSERA_MACHINE_TENSORD_H
#define TESSERA_MACHINE_TENSORD_H

#include <stddef.h>
#include <stdint.h>

struct tensord; // a connection

// $XDG_RUNTIME_DIR/tessera, without it /tmp/tessera-UID; made if it is missing. -EPERM: it is
// somebody else's or open to others.
int tensord_folder(char *out, size_t out_bytes, char *error, size_t error_bytes);
// -ECONNREFUSED and -ENOENT: it does not run.
int tensord_open(const char *folder, struct tensord **out, char *error, size_t error_bytes);
// The same, and starts `program` when none runs there: detached, its messages in
// folder/tensord.log. *started tells of it. Waits at most ten seconds.
int tensord_start(const char *folder, const char *program, struct tensord **out, int *started,
                  char *error, size_t error_bytes);
void tensord_close(struct tensord *t);

struct tensord_guest {
    char socket[108]; // what QEMU's ivshmem-doorbell connects to: as long as a socket's path may be
    uint32_t vectors;
};
// Opens the file's weights under their identity. -EIO: refused, with tensord's words.
int tensord_add_model(struct tensord *t, const char *path, const char *identity, char *error,
                      size_t error_bytes);
// weight: its part of the computing beside other guests', 1 to 10000; 0: the usual, 100.
int tensord_add_guest(struct tensord *t, const char *name, uint32_t region_mb, uint32_t weight,
                      struct tensord_guest *out, char *error, size_t error_bytes);
int tensord_remove_guest(struct tensord *t, const char *name, char *error, size_t error_bytes);

// ---- for tests ---------------------------------------------------------------------------------

// One answer line without its end. -EIO: {"ok":false}, its error in `error`; -EPROTO: no such
// answer.
int tensord_read_answer(const char *line, size_t bytes, char *error, size_t error_bytes);
int tensord_read_guest(const char *line, size_t bytes, struct tensord_guest *out, char *error,
                       size_t error_bytes);

#endif
