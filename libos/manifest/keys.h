// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The manifest's keys: one table that the device tree and the command line share, and how a value
// becomes a field.
#ifndef LIBOS_MANIFEST_KEYS_H
#define LIBOS_MANIFEST_KEYS_H

#include "libos/manifest.h"

enum key_kind {
    KEY_TEXT,      // characters in the struct
    KEY_STRING,    // pointer into manifest.strings
    KEY_NUMBER,    // 16- or 32-bit field
    KEY_BYTES,     // 64-bit field; text may end in K, M, G, T
    KEY_BOOL,      // on/off
    KEY_LOG,       // enum log_level
    KEY_SOURCE,    // enum model_source
    KEY_OFFLOAD,   // enum offload_mode
    KEY_ELSEWHERE, // on the command line only, read and checked by whom it concerns
};

struct manifest_key {
    const char *section; // "" or the node's name
    const char *name;
    enum key_kind kind;
    uint16_t offset, size; // of the field
    uint64_t min, max;     // numbers and bytes
    bool (*valid)(const char *text);
    const char *expected; // in words, for the error
};

// A manifest under construction.
struct manifest_builder {
    struct manifest *m;
    size_t strings_used;
    bool dhcp_given;
    char *error; // receives "where: what"
    size_t error_bytes;
};

const struct manifest_key *manifest_key_find(const char *section, size_t section_length,
                                             const char *name, size_t name_length);
bool manifest_section_known(const char *section, size_t length);

// Sets a key from text (not NUL-terminated) or from a number. `where` names the place in errors.
// 0, -EINVAL, -ENOSPC (strings full).
int manifest_set_text(struct manifest_builder *b, const struct manifest_key *key, const char *text,
                      size_t length, const char *where);
int manifest_set_number(struct manifest_builder *b, const struct manifest_key *key, uint64_t value,
                        const char *where);
// Writes "where: message" and returns -EINVAL.
int manifest_error(struct manifest_builder *b, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

int manifest_from_dtb(struct manifest_builder *b, const void *dtb, size_t bytes);
int manifest_from_cmdline(struct manifest_builder *b, const char *cmdline);

// "10.0.2.15", with_prefix: "10.0.2.15/24".
bool text_is_ipv4(const char *text, bool with_prefix);
bool text_is_ipv6(const char *text, bool with_prefix);

#endif
