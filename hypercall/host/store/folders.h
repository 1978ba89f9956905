// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Folders that are made where they are missing.
#ifndef TESSERA_STORE_FOLDERS_H
#define TESSERA_STORE_FOLDERS_H

// Root's: guests that root makes under a system's libvirt run as a user of libvirt's own, who has
// to reach their files.
#define FOLDERS_OF_SYSTEM "/var/lib/tessera"

// Makes the folder and those above it. Below FOLDERS_OF_SYSTEM others may pass through (0711) and
// list nothing; elsewhere a new one is this user's alone. 0 or a negative errno.
int folders_make(const char *path);

#endif
