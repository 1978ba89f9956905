// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any stop strings over any text in any pieces: shown is just what stands before the stop string
// that ends first (of those the one that begins first), or all of it.
// Links: apps/llm/stop.c
#include "apps/llm/stop.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

// How many bytes of the text may be shown, the slow way.
static size_t expected(const struct stop_strings *stops, const char *text, size_t bytes)
{
    for (size_t end = 1; end <= bytes; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < stops->count; i++) {
            size_t n = stops->string[i].bytes;
            if (n <= end && n > longest && !memcmp(text + end - n, stops->string[i].text, n))
                longest = n;
        }
        if (longest)
            return end - longest;
    }
    return bytes;
}

// A byte: how many stop strings; a byte: the length of a piece; each string with its length; the
// text.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct stop_strings stops = {0};
    if (bytes < 2)
        return 0;
    size_t wanted = data[0] % (STOP_MAX + 1), piece = 1 + data[1], at = 2, n = 0;
    while (stops.count < wanted && at < bytes) {
        size_t length = data[at] ? data[at] : STOP_MAX_BYTES;
        at++;
        if (length > bytes - at)
            break;
        stops.string[stops.count].text = (const char *)data + at;
        stops.string[stops.count++].bytes = length;
        at += length;
    }
    const char *text = (const char *)data + at;
    bytes -= at;
    struct stop_stream s = {.strings = &stops};
    char *shown = malloc(bytes + STOP_MAX_BYTES);
    for (size_t i = 0; i < bytes; i += piece) {
        size_t take = bytes - i < piece ? bytes - i : piece, held = s.held_bytes;
        char *room = malloc(held + take); // as the header has it, to the byte
        size_t got = stop_push(&s, text + i, take, room);
        if (got > held + take)
            abort();
        memcpy(shown + n, room, got);
        n += got;
        free(room);
    }
    n += stop_flush(&s, shown + n);
    size_t all = expected(&stops, text, bytes);
    if (n != all || memcmp(shown, text, n) || s.stopped != (all < bytes))
        abort();
    free(shown);
    return 0;
}
