// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The identity of weights, and files of weights that a guest can map (DESIGN: decision 7). Used by
// `tessera` and by `tensord`.
//
// Error handling: functions return 0 or a negative errno and then write a message for people, with
// the file's name, into `error`. Threads: any; processes lock each other out where they must.
#ifndef TESSERA_STORE_WEIGHTS_H
#define TESSERA_STORE_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf;

// The SHA-256 of the GGUF's content: from its first byte to the aligned end of its last tensor, cut
// at the file's size. So a copy that zeros fill up has the identity of its source, and for ordinary
// files it is what `sha256sum` prints. A packed file (`tessera pack`) has the identity of its
// source and the version of the packing; its word for the source is believed, so whoever serves
// several users must not share one user's packed file with another.
struct weights_identity {
    uint8_t sha256[32];
    uint32_t packed_version; // 0: not packed
};

// "sha256:HEX" or "sha256:HEX+packed1".
enum { WEIGHTS_TEXT = 96 };
void weights_identity_text(const struct weights_identity *identity, char text[WEIGHTS_TEXT]);
// -EINVAL unless it is exactly such a text, HEX in small letters.
int weights_identity_parse(const char *text, struct weights_identity *out);
bool weights_identity_equal(const struct weights_identity *a, const struct weights_identity *b);

// How far a long task is, in bytes of `total`; called many times a second. NULL functions are fine.
struct weights_progress {
    void (*show)(void *context, const char *what, uint64_t done, uint64_t total);
    void *context;
};
// Shows a line with per cent on a terminal's standard error once a task takes longer than a second.
struct weights_progress weights_progress_on_terminal(void);

// Reads the whole file once (3 s for 1 GB); afterwards the answer comes from the cache, as long as
// device, inode, size, mtime and ctime stay. -ENOTSUP: one file of several (a shard); other errors
// as of a broken GGUF.
int weights_identity(const char *path, const struct weights_progress *progress,
                     struct weights_identity *out, char *error, size_t error_bytes);

// The SHA-256 of the content itself, whatever a packed file says of its source: what a file is kept
// and verified by. `again`: read now, whatever the cache holds; the cache then has what was found.
int weights_content_sha256(const char *path, bool again, const struct weights_progress *progress,
                           uint8_t sha256[32], char *error, size_t error_bytes);
// For who has just written the file and knows the hash of its content: nobody must read it all
// again. Takes a moment (the tick of the file system's clock).
void weights_remember(const char *path, const uint8_t sha256[32]);

// A file with these weights whose size is a multiple of WEIGHTS_MULTIPLE: the file itself (its real
// path) if it is so already, otherwise a copy that zeros fill up, made once in the cache. The
// file itself is never altered. The caller frees *out_path. -ENOSPC: no room for the copy.
enum { WEIGHTS_MULTIPLE = 2 << 20 };
int weights_mappable(const char *path, const struct weights_progress *progress, char **out_path,
                     uint64_t *out_bytes, char *error, size_t error_bytes);
// The same with a size that is a power of two, for microvm's device. A copy has a hole at its end.
int weights_mappable_power(const char *path, const struct weights_progress *progress,
                           char **out_path, uint64_t *out_bytes, char *error, size_t error_bytes);

// A user who maps files beside this one: QEMU's, where a system's libvirt runs it.
struct weights_reader {
    uint32_t group;   // copies are this one's to read, and nobody else's
    bool cannot;      // the file itself is out of his reach: a copy is made of any size
    const char *name; // weights_copy_for: of the one guest that has the copy; NULL: guests share it
};
// Either of the two, with a reader (NULL: as above).
int weights_mappable_for(const char *path, bool power, const struct weights_reader *reader,
                         const struct weights_progress *progress, char **out_path,
                         uint64_t *out_bytes, char *error, size_t error_bytes);

// A copy of any file (an image) that the reader's group may read, made once for the file as it is;
// one that has a guest's name is made anew each time, since that guest's QEMU may have owned it.
// The caller frees *out_path.
int weights_copy_for(const char *path, const struct weights_reader *reader, char **out_path,
                     char *error, size_t error_bytes);

// ---- copies that nobody needs ------------------------------------------------------------------

// As of packages.h: 0, or -EBUSY and who needs the file.
typedef int weights_in_use(void *context, const char *path, char *who, size_t who_bytes);
struct weights_unneeded {
    size_t count;
    uint64_t bytes;
};
// Copies whose source is gone, has changed or is not known, which nothing was started from for ten
// minutes and in_use says nobody needs: counted, and removed if `remove`. 0 or a negative errno.
int weights_copies_prune(bool remove, weights_in_use *in_use, void *context,
                         struct weights_unneeded *out, char *error, size_t error_bytes);

// The bytes of content in an opened GGUF file of file_bytes.
uint64_t weights_content_bytes(const struct gguf *file, uint64_t file_bytes);

// $XDG_CACHE_HOME/tessera/NAME or ~/.cache/tessera/NAME, made if it is missing.
int weights_cache_folder(const char *name, char *out, size_t out_bytes, char *error,
                         size_t error_bytes);

#endif
