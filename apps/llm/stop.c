// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Stop strings, one byte at a time: the held bytes are always a proper prefix of some stop string.
#include "apps/llm/stop.h"

#include <string.h>

// Is the text a whole stop string (2), the beginning of one (1), or neither (0)?
static int matches(const struct stop_strings *strings, const char *text, size_t bytes)
{
    int best = 0;
    for (size_t i = 0; i < strings->count; i++) {
        size_t length = strings->string[i].bytes;
        if (bytes <= length && !memcmp(strings->string[i].text, text, bytes)) {
            if (bytes == length)
                return 2;
            best = 1;
        }
    }
    return best;
}

static size_t push_byte(struct stop_stream *s, char byte, char *out)
{
    size_t n = 0;
    s->held[s->held_bytes++] = byte;
    // Give away from the front until what is left can still become a stop string. A shorter stop
    // string may lie further back in what is held.
    while (s->held_bytes) {
        int match = matches(s->strings, s->held, s->held_bytes);
        if (match == 2) {
            s->stopped = true;
            s->held_bytes = 0;
            break;
        }
        if (match == 1) {
            for (size_t from = 1; from < s->held_bytes; from++)
                if (matches(s->strings, s->held + from, s->held_bytes - from) == 2) {
                    memcpy(out + n, s->held, from);
                    s->stopped = true;
                    s->held_bytes = 0;
                    return n + from;
                }
            break;
        }
        out[n++] = s->held[0];
        memmove(s->held, s->held + 1, --s->held_bytes);
    }
    return n;
}

size_t stop_push(struct stop_stream *s, const char *text, size_t bytes, char *out)
{
    size_t n = 0;
    if (!s->strings->count) {
        memcpy(out, text, bytes);
        return bytes;
    }
    for (size_t i = 0; i < bytes && !s->stopped; i++)
        n += push_byte(s, text[i], out + n);
    return n;
}

size_t stop_flush(struct stop_stream *s, char *out)
{
    size_t n = s->stopped ? 0 : s->held_bytes;
    memcpy(out, s->held, n);
    s->held_bytes = 0;
    return n;
}
