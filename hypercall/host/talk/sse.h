// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as streams
// of completions use them: bytes in as they arrive, the data of whole events out.
#ifndef TESSERA_TALK_SSE_H
#define TESSERA_TALK_SSE_H

#include <stdbool.h>
#include <stddef.h>

enum { SSE_MOST = 1 << 20 }; // bytes of one event

struct sse {
    char *data; // of the event so far; sse_free
    size_t bytes, room;
    char *line;
    size_t line_bytes, line_room;
    bool after_return; // the last byte was '\r': a '\n' now is of the same line end
    bool has_data;
};
// Calls `event` with each event's data, NUL-terminated. A result of `event` that is not 0 is
// returned at once; -EMSGSIZE: an event is too long; -ENOMEM.
int sse_push(struct sse *s, const char *bytes, size_t count,
             int (*event)(void *context, const char *data, size_t bytes), void *context);
void sse_free(struct sse *s);

#endif
