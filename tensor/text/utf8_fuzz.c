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

static bool is_utf8(const char *text, size_t bytes)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        n = utf8_character(text + at, bytes - at);
        if (n == 0)
            return false;
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
