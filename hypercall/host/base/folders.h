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
// Root's files: guests that root makes under a system's libvirt run as a user of libvirt's own, who
// has to reach them.
#define FOLDER_OF_SYSTEM "/var/lib/tessera"
// `tessera` in the folder above; for root, without the variable, FOLDER_OF_SYSTEM/cache, /config,
// /data, /state. -ENOENT, -ENAMETOOLONG.
int folder_of_tessera(enum folder which, char *out, size_t out_bytes);
// $XDG_RUNTIME_DIR/tessera, without it /tmp/tessera-UID; root's is /run/tessera-0 also where
// XDG_RUNTIME_DIR is a login's (/run/user/0), which QEMU's own user cannot pass. -ENAMETOOLONG.
int folder_of_sockets(char *out, size_t out_bytes);

// Makes it and those above it. Those that are there stay as they are.
int folder_make(const char *path, mode_t mode);
// The same for this user alone (0700), but below FOLDER_OF_SYSTEM others may pass through (0711)
// and list nothing, whatever the umask.
int folder_make_passable(const char *path);
// Makes it (0700) if it is missing. -EPERM: it is no folder, not this user's, or its mode has one
// of the bits in `closed`: in /tmp anybody may have been there first.
int folder_make_own(const char *path, mode_t closed);

#endif
