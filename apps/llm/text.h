// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A growing text, for answers: plain, formatted, and as JSON strings (RFC 8259, section 7).
#ifndef APPS_LLM_TEXT_H
#define APPS_LLM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

// All zero is an empty text. After a failed allocation `failed` is set and further puts do nothing,
// so that callers check once at the end.
struct text {
    char *data; // NUL-terminated once anything was put
    size_t bytes, room;
    bool failed;
};
void text_put(struct text *t, const char *data, size_t bytes);
void text_puts(struct text *t, const char *string);
void text_format(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
// A JSON string with its quotes. `data` must be UTF-8.
void text_json(struct text *t, const char *data, size_t bytes);
void text_free(struct text *t);

#endif
