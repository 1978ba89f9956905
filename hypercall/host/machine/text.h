// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A text that grows. The first failure stays, so that callers look once.
#ifndef TESSERA_MACHINE_TEXT_H
#define TESSERA_MACHINE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *data; // NUL-terminated once something was added; the caller frees
    size_t bytes, room;
    bool failed; // no memory
};
__attribute__((format(printf, 2, 3))) void text_add(struct text *t, const char *format, ...);
// With the five characters of XML escaped: safe as an element's text and between either quotes.
void text_add_escaped(struct text *t, const char *plain);
// The text of an element as libvirt writes it: the five entities, and numbers for what is not
// ASCII, as UTF-8. 0; -EINVAL: an entity that is none of these, or it does not fit `room` with its
// NUL.
int text_unescape(const char *escaped, size_t bytes, char *out, size_t room);
// Only what XML 1.0 may hold: valid UTF-8 without control characters (also no tab or line end).
bool text_is_clean(const char *plain);

#endif
