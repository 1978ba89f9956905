// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the store's files share. Not for others.
#ifndef TESSERA_STORE_PRIVATE_H
#define TESSERA_STORE_PRIVATE_H

#include "hypercall/host/base/error.h"
#include "hypercall/host/base/hex.h"
#include "hypercall/host/store/weights.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { STORE_CHUNK = 4 << 20 };

// An open file of weights.
struct weights_file {
    int fd;
    char path[PATH_MAX]; // real: without links
    struct stat status;  // as it was opened
    uint64_t content;    // bytes
    bool says_source;    // a packed file that names its source
    struct weights_identity source;
};

void store_show(const struct weights_progress *p, const char *what, uint64_t done, uint64_t total);

int weights_file_open(const char *path, struct weights_file *out, char *error, size_t error_bytes);
void weights_file_close(struct weights_file *f);
// Is the file still what was opened? -ESTALE and a message otherwise.
int weights_file_unchanged(const struct weights_file *f, char *error, size_t error_bytes);

// The SHA-256 of the content, from the cache or by reading it.
int weights_content_hash(const struct weights_file *f, const struct weights_progress *p,
                         uint8_t sha256[32], char *error, size_t error_bytes);

// The cache of hashes: whatever is not exactly an entry for this file as it is now is no entry.
enum { STORE_ENTRY = 512 };
void hash_entry_write(const struct weights_file *f, const uint8_t sha256[32],
                      char out[STORE_ENTRY]);
bool hash_entry_read(const struct weights_file *f, const char *entry, size_t bytes,
                     uint8_t sha256[32]);
bool hash_cache_find(const struct weights_file *f, uint8_t sha256[32]);
void hash_cache_keep(const struct weights_file *f, const uint8_t sha256[32]); // or not, silently

// ---- copies.c ----------------------------------------------------------------------------------

// A copy is used (again) for this source: what a later prune goes by. Silent about failures.
void copy_note_source(const char *copy, const char *source);
// The lock beside a copy: `path` ends in ".gguf". Waits for whoever makes or removes it.
int copy_lock(const char *path, bool wait, char *error, size_t error_bytes);

#endif
