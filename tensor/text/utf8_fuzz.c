// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes in any pieces: what comes out is UTF-8, does not depend on the pieces, fits the room
// that the header promises, and is what went in where that was UTF-8.
// Links: tensor/text/utf8.c
#include "tensor/text/tokenizer_private.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

// By the code points' values, not by the tables of utf8.c.
static bool is_utf8(const char *text, size_t bytes)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const uint8_t *at = (const uint8_t *)text, *end = at + bytes;
    while (at < end) {
        uint32_t lead = *at;
        size_t n = lead < 0x80       ? 1
                   : lead >> 5 == 6  ? 2
                   : lead >> 4 == 14 ? 3
                   : lead >> 3 == 30 ? 4
                                     : 0;
        uint32_t code = n == 1 ? lead : lead & (0x7fu >> n);
        if (n == 0 || n > (size_t)(end - at))
            return false;
        for (size_t i = 1; i < n; i++) {
            if (at[i] >> 6 != 2)
                return false;
            code = code << 6 | (at[i] & 0x3f);
        }
        if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
            utf8_character((const char *)at, (size_t)(end - at)) != n)
            return false;
        at += n;
    }
    return true;
}

// The first byte says how long a piece is.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return 0;
    size_t piece = 1 + data[0] % 16, at_once, n = 0;
    const char *text = (const char *)data + 1;
    bytes--;
    struct utf8_stream whole = {0}, pieces = {0};
    char *a = malloc(3 * (bytes + 4)), *b = malloc(3 * (bytes + 4));
    at_once = utf8_stream_push(&whole, text, bytes, true, a);
    for (size_t at = 0; at < bytes; at += piece) {
        size_t take = bytes - at < piece ? bytes - at : piece;
        char *room = malloc(3 * (take + 4)); // as the header has it, to the byte
        size_t got = utf8_stream_push(&pieces, text + at, take, at + take == bytes, room);
        if (!is_utf8(room, got) || n + got > 3 * (bytes + 4))
            abort();
        memcpy(b + n, room, got);
        n += got;
        free(room);
    }
    if (n != at_once || memcmp(a, b, n) || !is_utf8(a, n) || pieces.count)
        abort();
    if (is_utf8(text, bytes) && (n != bytes || memcmp(a, text, n)))
        abort();
    free(a);
    free(b);
    return 0;
}
