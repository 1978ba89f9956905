// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Keys of guests' APIs in files of their own, which only their owner reads: neither command lines
// nor libvirt's XML hold them. QEMU hands the file to the guest (libos/manifest); who needs the key
// later reads it again.
//
// Errors as in machine.h. No message shows a key.
#ifndef TESSERA_MACHINE_KEY_H
#define TESSERA_MACHINE_KEY_H

#include "hypercall/host/machine/machine.h"

// The name that guests know the file by (libos/manifest.h).
#define KEY_HOST_FILE "opt/org.tessera/http.key"

// $XDG_STATE_HOME/tessera/keys/NAME-HASH.key (root's without that variable: FOLDER_OF_SYSTEM/state/
// keys), HASH of the connection: names are one connection's.
int key_path(const char *name, const char *uri, char *out, size_t out_bytes, char *error,
             size_t error_bytes);
// The folder of these.
int key_folder(char *out, size_t out_bytes, char *error, size_t error_bytes);
// Is this the path of a key of `name`, in somebody's state folder, or among the files of guests
// that other machines sent here? Whoever may define domains may have written any path into one:
// others are neither read nor removed.
bool key_path_is_of(const char *path, const char *name);

// Whole or not at all, for its owner alone; the folder is made.
int key_write(const char *path, const char *text, char *error, size_t error_bytes);
// All of it, with what newline is at its end. -EPERM: no path of a key of `name`, or no plain file
// of this user's; -EFBIG: longer than room - 1.
int key_read(const char *path, const char *name, char *out, size_t room);
// facts->key from such a file's text; "" where that is no key.
void key_set(const char *text, struct machine_facts *facts);
// facts->key from facts->key_file, a file of this machine. What cannot be read leaves it empty.
void key_take(const char *name, struct machine_facts *facts);
// None there, or another's: nothing.
void key_forget(const char *path, const char *name);

#endif
