// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Growing byte buffers of the HTTP core, accounted to the server so that all its connections
// together stay within limits.memory_bytes.
#include "libos/net/http_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int grow(struct http_server *s, struct http_buffer *b, size_t need, bool forced)
{
    size_t room = b->room ? b->room : 512;
    while (room < need) {
        if (room > SIZE_MAX / 2)
            return -ENOMEM;
        room *= 2;
    }
    size_t more = room - b->room;
    if (!forced &&
        (s->memory > s->limits.memory_bytes || more > s->limits.memory_bytes - s->memory))
        return -ENOMEM;
    char *data = realloc(b->data, room);
    if (data == NULL)
        return -ENOMEM;
    b->data = data;
    b->room = room;
    s->memory += more;
    return 0;
}

int http_buffer_append(struct http_server *s, struct http_buffer *b, const void *data, size_t bytes,
                       bool forced)
{
    if (bytes == 0)
        return 0;
    if (bytes > SIZE_MAX / 4)
        return -ENOMEM;
    // Reuse the room in front only when that is most of the buffer: each byte then moves at most
    // once per byte consumed.
    if (b->room - b->end < bytes && b->start > 0 && b->start >= b->end - b->start) {
        memmove(b->data, b->data + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
    if (b->room - b->end < bytes) {
        int error = grow(s, b, b->end + bytes, forced);
        if (error)
            return error;
    }
    memcpy(b->data + b->end, data, bytes);
    b->end += bytes;
    return 0;
}

void http_buffer_free(struct http_server *s, struct http_buffer *b)
{
    s->memory -= b->room;
    free(b->data);
    *b = (struct http_buffer){0};
}
