// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The fields of fleet.yaml as tables, from which it is read and its normal form written. Private.
//
// Both fleet.yaml and the normal form come as JSON values; in fleet.yaml's every scalar is a text.
// The tables know the types.
#ifndef TESSERA_FLEET_FIELDS_H
#define TESSERA_FLEET_FIELDS_H

#include "hypercall/host/fleet/spec.h"

#include <stdarg.h>

struct step { // of the way to a field: a key, or an index into a list
    const char *key;
    size_t index;
};
enum { READER_DEPTH = 8 };
struct reader {
    const char *folder;              // for relative paths
    bool normal;                     // the normal form: also fields that the tool adds
    bool is_partial;                 // what a table within the table needs has a value already
    struct step steps[READER_DEPTH]; // where it is now, and on failure: what is wrong
    size_t depth;
    char *error;
    size_t error_bytes;
};
// "models[1].replicas: " and the message; the way stays as it is. Returns -EINVAL.
int reader_fail(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
int reader_fail_at(struct reader *r, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

enum field_kind {
    FIELD_TEXT,   // char[room], at most room - 1
    FIELD_PATH,   // char[room], made absolute
    FIELD_COUNT,  // uint32_t from least to most
    FIELD_MEMORY, // uint32_t, MB
    FIELD_TIME,   // uint32_t, ms, from least to most
    FIELD_BOOL,   //
    FIELD_CHOICE, // an enum, by `choices` (NULL at the end)
    FIELD_OTHER,  // read and write do it
    FIELD_TABLE   // a part at the same offset with fields of its own, in place
};
struct field {
    const char *name;
    enum field_kind kind;
    size_t offset, room;
    uint32_t least, most;
    const char *const *choices;
    bool (*valid)(const char *text); // of texts, NULL: any; `wanted` says what is
    const char *wanted;
    int (*read)(struct reader *r, const json_t *value, void *object);
    json_t *(*write)(const void *object); // NULL: no memory; json_null(): leave it out
    bool is_needed;                       // must be given
    bool is_internal;                     // only in the normal form
    bool is_last;                         // reading it looks at the others
    const struct field *table;            // ends with a field without a name
};
extern const struct field fleet_fields[], model_fields[], variant_fields[];

// Reads what `value` has; what it has not stays as it is. Unknown fields are refused with the
// nearest name.
int fields_read(struct reader *r, const struct field *table, const json_t *value, void *object);
// Adds all fields to `to`. False: no memory.
bool fields_write(const struct field *table, const void *object, json_t *to);
// A scalar as text: its own, or a number's. False: it is none, or has characters that are none.
bool scalar_text(const json_t *value, char *out, size_t out_bytes);
// Of the names, the one that looks like `word`; NULL: none does.
const char *nearest_name(const char *word, const char *const *names, size_t count);

// Defaults; checks that look at several fields.
void model_defaults(struct fleet_model *m);

// ---- fleet.yaml as a JSON value ----------------------------------------------------------------

struct document; // a document
// -EINVAL with "file:line: …". *out: a new reference, texts and nulls for scalars.
int document_load(const char *text, size_t bytes, const char *file, struct document **document,
                  json_t **out, char *error, size_t error_bytes);
// The line (from 1) of what the way leads to, or of the deepest part of it that is there.
size_t document_line(const struct document *document, const struct step *steps, size_t depth);
void document_free(struct document *document);

#endif
