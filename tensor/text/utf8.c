// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// UTF-8 (RFC 3629): which bytes are whole characters, and the filter that lets only those through.
#include "tensor/text/tokenizer_private.h"

#include <string.h>

// The second byte's range depends on the first (RFC 3629, section 4).
static bool may_follow(const char *have, unsigned count, uint8_t next)
{
    uint8_t lead = (uint8_t)have[0], low = 0x80, high = 0xbf;
    if (count == 1) {
        if (lead == 0xe0)
            low = 0xa0;
        else if (lead == 0xed)
            high = 0x9f;
        else if (lead == 0xf0)
            low = 0x90;
        else if (lead == 0xf4)
            high = 0x8f;
    }
    return next >= low && next <= high;
}

static unsigned wanted_bytes(uint8_t lead)
{
    return lead < 0x80   ? 1
           : lead < 0xc2 ? 0
           : lead < 0xe0 ? 2
           : lead < 0xf0 ? 3
           : lead < 0xf5 ? 4
                         : 0;
}

static size_t replacement(char *out)
{
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

size_t utf8_stream_push(struct utf8_stream *s, const char *bytes, size_t count, bool flush,
                        char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t c = (uint8_t)bytes[i];
        if (s->count && !may_follow(s->pending, s->count, c)) {
            n += replacement(out + n);
            s->count = 0;
        }
        if (!s->count && !wanted_bytes(c)) {
            n += replacement(out + n);
            continue;
        }
        s->pending[s->count++] = (char)c;
        if (s->count == wanted_bytes((uint8_t)s->pending[0])) {
            memcpy(out + n, s->pending, s->count);
            n += s->count;
            s->count = 0;
        }
    }
    if (flush && s->count) {
        n += replacement(out + n);
        s->count = 0;
    }
    return n;
}

size_t utf8_character(const char *text, size_t bytes)
{
    unsigned wanted = bytes ? wanted_bytes((uint8_t)text[0]) : 0;
    if (!wanted || wanted > bytes)
        return 0;
    for (unsigned i = 1; i < wanted; i++)
        if (!may_follow(text, i, (uint8_t)text[i]))
            return 0;
    return wanted;
}

uint32_t utf8_value(const char *text, size_t bytes)
{
    uint32_t c = (uint8_t)text[0];
    c = bytes == 1 ? c : c & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++)
        c = c << 6 | ((uint8_t)text[i] & 0x3f);
    return c;
}
