// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where this user's files lie: the XDG Base Directory Specification, version 0.8.
//
// Error handling: 0 or a negative errno; no message.
#ifndef TESSERA_BASE_FOLDERS_H
#define TESSERA_BASE_FOLDERS_H

#include <stddef.h>
#include <sys/types.h>

enum folder { FOLDER_CACHE, FOLDER_CONFIG, FOLDER_DATA, FOLDER_STATE };

// $XDG_CACHE_HOME or ~/.cache, $XDG_CONFIG_HOME or ~/.config, $XDG_DATA_HOME or ~/.local/share,
// $XDG_STATE_HOME or ~/.local/state; a relative path in a variable counts as none. HOME is the
// user's database's where it is not set. -ENOENT: there is none; -ENAMETOOLONG.
int folder_of_user(enum folder which, char *out, size_t out_bytes);
// $XDG_RUNTIME_DIR/tessera, without it /tmp/tessera-UID. -ENAMETOOLONG.
int folder_of_sockets(char *out, size_t out_bytes);

// Makes it and those above it. Those that are there stay as they are.
int folder_make(const char *path, mode_t mode);
// Makes it (0700) if it is missing. -EPERM: it is no folder, not this user's, or its mode has one
// of the bits in `closed`: in /tmp anybody may have been there first.
int folder_make_own(const char *path, mode_t closed);

#endif
