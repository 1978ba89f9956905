// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Small files as a whole, and files that are whole or absent.
//
// Error handling: 0 or a negative errno; no message.
#ifndef TESSERA_BASE_FILES_H
#define TESSERA_BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// All of it, with a NUL behind; the caller frees. -EFBIG: more than `most` bytes. Files of /proc
// and /sys, which do not tell their size, are read, too; a pipe or device does not hang it.
int file_load(const char *path, size_t most, char **out, size_t *bytes);
// The same of an open one, from its offset on; waits where that waits.
int file_load_open(int fd, size_t most, char **out, size_t *bytes);

int file_write_all(int fd, const void *data, size_t bytes);

// The file appears or is replaced as a whole: it is written as `temporary`, in the same folder, and
// renamed; on an error `temporary` is gone and the file as it was. `temporary` is a name that
// nobody else uses at the time, what lies there is removed first; NULL: PATH with a dot and six
// letters of chance. `durable`: it is on the disk when this returns.
int file_replace(const char *path, const char *temporary, const void *data, size_t bytes,
                 mode_t mode, bool durable);
// After a file was made, renamed or removed: its folder goes to the disk, where the file system
// can.
int file_sync_folder(const char *path);

#endif
