// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The model store: models installed under a name, kept once by content, verified by SHA-256. Every
// file is whole or absent; what a killed install left is gone on with by the next one.
//
// Error handling: functions return 0 or a negative errno and then have a message for people in
// `error` of the store. Threads: one at a time for one `struct packages`; processes lock each other
// out.
#ifndef TESSERA_PACKAGES_H
#define TESSERA_PACKAGES_H

#include "hypercall/host/store/weights.h"

#include <limits.h>

enum {
    PACKAGES_NAME = 97,   // characters of a name and the NUL
    PACKAGES_TEXT = 513,  // of a description, a licence, a type
    PACKAGES_PLACE = 2049 // of a path or URL
};

struct packages {
    char root[PATH_MAX - 512];
    char error[1400];
    struct weights_progress progress;
    // Lines for people about what takes time or goes otherwise than asked. NULL: none.
    void (*say)(void *context, const char *line);
    void *say_context;
    const char *ca_file; // certificates to trust, PEM; NULL: CURL_CA_BUNDLE, else the system's
    // May this blob be deleted? Asked after the store's own look at who has it mapped. 0: yes;
    // -EBUSY: no, and who needs it in `who` ("guest 'a'"). NULL: not asked.
    int (*in_use)(void *context, const char *blob_path, char *who, size_t who_bytes);
    void *in_use_context;
};

// Root: TESSERA_STORE, else /var/lib/tessera/models for root, else $XDG_DATA_HOME/tessera/models or
// ~/.local/share/tessera/models. `make`: the folders are made.
int packages_open(struct packages *p, bool make);

// ---- what is installed -------------------------------------------------------------------------

struct packages_entry {
    char name[PACKAGES_NAME];
    struct weights_identity identity;
    char blob[65];               // SHA-256 of the content: blobs/sha256-HEX.gguf
    uint64_t bytes;              // of the content
    char type[32];               // "Q4_0": of most bytes, or as it was asked for
    char source[PACKAGES_PLACE]; // path or URL, without a query
    char source_sha256[65];      // of the source's file as it came
    uint64_t source_bytes;
    char converted[32]; // the type that was asked for, "": as it came
    bool packed;        // on install
    char installed[32]; // 2026-01-31T12:00:00Z
};

// Letters, digits, '.', '_', '-'; a letter or digit first, at most 96.
bool packages_name_is_valid(const char *name);
// -ENOENT: no such name.
int packages_find(struct packages *p, const char *name, struct packages_entry *out);
// By name; the caller frees. A broken entry is told by `say` and left out.
int packages_list(struct packages *p, struct packages_entry **out, size_t *count);
int packages_blob_path(struct packages *p, const char *blob, char out[PATH_MAX]);
// The file of an installed model, in this user's store or the system's. -ENOENT: none of that name
// (and also what is no name).
int packages_resolve(const char *name, char path[PATH_MAX], char *error, size_t error_bytes);

// ---- indexes -----------------------------------------------------------------------------------

struct packages_model { // of an index; README.md has the format
    char name[PACKAGES_NAME], sha256[65], type[32];
    char description[PACKAGES_TEXT], licence[PACKAGES_TEXT], architecture[64];
    char file[PACKAGES_PLACE];  // as it stands there
    char place[PACKAGES_PLACE]; // path or URL
    uint64_t size;              // 0: not told
};
// `place`: a folder, a file or a URL; a folder and a URL that ends in '/' mean index.json there.
int packages_index_load(struct packages *p, const char *place, struct packages_model **out,
                        size_t *count);
// The configured ones: TESSERA_INDEX (blanks between), else the lines of
// $XDG_CONFIG_HOME/tessera/indexes (~/.config) and /etc/tessera/indexes. `visit` gets each; other
// than 0 ends it and is returned.
int packages_index_places(struct packages *p, int (*visit)(void *context, const char *place),
                          void *context);
// Writes index.json for the GGUF files of a folder.
int packages_index_make(struct packages *p, const char *folder, size_t *count);

// ---- install, remove ---------------------------------------------------------------------------

struct packages_request {
    const char *source; // a path, a URL, or a name in an index
    const char *name;   // NULL: by the source
    const char *sha256; // the source's, HEX; NULL: the index's, if any
    const char *index;  // NULL: the configured ones
    const char *type;   // asked for, NULL: as it is
    bool pack, replace;
    // Writes the model at `from` with `type` or packed to `to`, which appears when it is whole.
    // 0 or a negative errno, having told why. Needed with type and pack.
    int (*convert)(void *context, const char *from, const char *to, const char *type, bool pack);
    void *convert_context;
};
// *existed: the same model had the name already; nothing was done.
int packages_install(struct packages *p, const struct packages_request *q,
                     struct packages_entry *out, bool *existed);
// *freed: the bytes that went with it, 0 while another name needs them. -EBUSY: somebody has the
// file mapped, or `in_use` says so; `force` does not ask.
int packages_remove(struct packages *p, const char *name, bool force, uint64_t *freed);
// Reads all of the model again. -EBADMSG: it is not what was installed.
int packages_verify(struct packages *p, const struct packages_entry *e);

struct packages_leftovers {
    size_t blobs, parts; // files that no name needs; of interrupted installs
    uint64_t bytes;
};
// Counts them, and removes those that nobody uses now if `remove`.
int packages_prune(struct packages *p, bool remove, struct packages_leftovers *out);

#endif
