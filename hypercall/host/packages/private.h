// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the files of the model store share. Not for others.
#ifndef TESSERA_PACKAGES_PRIVATE_H
#define TESSERA_PACKAGES_PRIVATE_H

#include "hypercall/host/base/hex.h"
#include "hypercall/host/packages/packages.h"

#include <mbedtls/sha256.h>
#include <stdio.h>
#include <string.h>

enum {
    INDEX_MOST_BYTES = 16 << 20,
    INDEX_MOST_MODELS = 100000,
    ENTRY_MOST_BYTES = 16 << 10,
    CHUNK_BYTES = 1 << 20,
    VALIDATOR_BYTES = 256
};

// Writes the message and returns rc.
__attribute__((format(printf, 3, 4))) int pk_fail(struct packages *p, int rc, const char *format,
                                                  ...);
__attribute__((format(printf, 2, 3))) void pk_say(const struct packages *p, const char *format,
                                                  ...);
// A path below the root. -ENAMETOOLONG with a message.
__attribute__((format(printf, 3, 4))) int pk_path(struct packages *p, char out[PATH_MAX],
                                                  const char *format, ...);

// ---- files (files.c) ---------------------------------------------------------------------------

// As file_replace, with a message; it is on the disk afterwards. `temporary`: a fixed name that a
// lock keeps for us, so that the next run writes over what a kill leaves.
int pk_write_atomic(struct packages *p, const char *path, const char *temporary, const char *text,
                    size_t bytes);
// The whole file's SHA-256.
int pk_hash_file(struct packages *p, const char *path, const char *what, char hex[65],
                 uint64_t *bytes);
// Is there room for so many bytes more? -ENOSPC with a message that names `what`.
int pk_check_room(struct packages *p, uint64_t bytes, const char *what);
uint64_t pk_padded(uint64_t bytes); // up to whole pages of 2 MB

// ---- locks (lock.c) ----------------------------------------------------------------------------

// A lock's file stays while it is held. The holder's end, however it comes, frees it. Waits as
// long as `is_alive` finds that the holder works. Returns a descriptor; close it to let go.
int pk_lock_store(struct packages *p);
int pk_lock_source(struct packages *p, const char *key, bool wait); // -EAGAIN: held, not waited
void pk_unlock_source(struct packages *p, const char *key, int fd);

// ---- texts (text.c, entry.c, index.c) ----------------------------------------------------------

bool pk_is_sha256(const char *hex); // 64 small hexadecimal digits
// A copy without what a terminal would obey. `out` has room for `room` bytes with the NUL.
void pk_plain(char *out, size_t room, const char *text);
// A name from a path or URL.
void pk_name_of(const char *place, char out[PACKAGES_NAME]);

// `error` gets what is wrong with it. 0 or -EINVAL.
int pk_entry_parse(const char *text, size_t bytes, struct packages_entry *out, char *error,
                   size_t error_bytes);
char *pk_entry_text(const struct packages_entry *e); // JSON; the caller frees, NULL: no memory
int pk_entry_write(struct packages *p, const struct packages_entry *e);

int pk_index_parse(const char *text, size_t bytes, struct packages_model **out, size_t *count,
                   char *error, size_t error_bytes);
char *pk_index_text(const struct packages_model *models, size_t count);
// Where a model's file is: against the index's own place. -EINVAL with a message.
int pk_index_place(struct packages *p, const char *index, struct packages_model *m);
bool pk_is_url(const char *place);

// ---- what a killed install left (partial.c) ----------------------------------------------------

struct partial {
    char key[65];         // of the source
    char part[PATH_MAX];  // its bytes so far
    char note[PATH_MAX];  // what is known of them
    char fresh[PATH_MAX]; // a note being written
    char made[PATH_MAX];  // the converted model
    int lock;
    char etag[VALIDATOR_BYTES], modified[VALIDATOR_BYTES];
    uint64_t total;  // 0: not known
    uint64_t synced; // bytes that survive a power cut
};
int pk_partial_open(struct packages *p, const char *place, struct partial *out);
// Removes all of it if `done`; otherwise the bytes so far stay for the next run.
void pk_partial_close(struct packages *p, struct partial *part, bool done);
int pk_partial_note(struct packages *p, const struct partial *part);
void pk_partial_forget(struct partial *part); // validators, total
// Bytes of the note as written by pk_partial_note. -EINVAL: it is not one. `same_boot` NULL: the
// note's own word is not compared.
int pk_note_parse(const char *text, size_t bytes, struct partial *out, bool *same_boot);
// "bytes 5-9/10": 0 or -EINVAL.
int pk_content_range_parse(const char *text, uint64_t *first, uint64_t *last, uint64_t *total);

// ---- bytes come in (fetch.c, download.c, copy.c) -----------------------------------------------

struct origin {
    char place[PACKAGES_PLACE];
    bool is_url, has_hash, from_index;
    char sha256[65]; // wanted, if has_hash
    uint64_t size;   // wanted, 0: not known
    char name[PACKAGES_NAME];
};
struct obtained {
    char sha256[65];
    uint64_t bytes;
    bool resumed; // from a part of before
};
int pk_fetch_small(struct packages *p, const char *url, size_t most, char **out, size_t *bytes);
int pk_download(struct packages *p, const struct origin *o, struct partial *part,
                struct obtained *out);
int pk_copy(struct packages *p, const struct origin *o, struct partial *part, struct obtained *out);
// libcurl with what holds for every request; NULL with a message. `any`: a redirection may lead
// from HTTPS to HTTP, since the hash is known.
void *pk_curl(struct packages *p, const char *url, bool any);
int pk_check_url(struct packages *p, const char *url);

// Who has the file mapped, as far as this user may see: 0 or the process id.
int pk_mapped_by(const char *path, char comm[32]);

#endif
