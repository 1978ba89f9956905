// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Stop strings over a stream of text: what could be the beginning of one is held back until it is
// clear, so that no byte of a stop string ever reaches the client.
#ifndef APPS_LLM_STOP_H
#define APPS_LLM_STOP_H

#include <stdbool.h>
#include <stddef.h>

#define STOP_MAX       16
#define STOP_MAX_BYTES 256 // of one stop string

struct stop_strings {
    size_t count;
    struct {
        const char *text; // whole UTF-8 characters
        size_t bytes;     // 1 to STOP_MAX_BYTES
    } string[STOP_MAX];
};
struct stop_stream {
    const struct stop_strings *strings;
    char held[STOP_MAX_BYTES];
    size_t held_bytes;
    bool stopped;
};
// Takes text (whole characters) and gives what may be shown: writes at most held + bytes to out and
// returns how much. Sets stopped at a stop string; what follows it is dropped.
size_t stop_push(struct stop_stream *s, const char *text, size_t bytes, char *out);
// The end without a stop string: what was held back. At most STOP_MAX_BYTES.
size_t stop_flush(struct stop_stream *s, char *out);

#endif
