// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Server-sent events, read as they arrive. Fields other than `data` are of no use here.
#include "hypercall/host/talk/sse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add(char **to, size_t *used, size_t *room, const char *bytes, size_t count)
{
    if (*used + count + 1 > SSE_MOST) {
        return -EMSGSIZE;
    }
    if (*used + count + 1 > *room) {
        size_t more = 2 * (*used + count + 1);
        char *grown = realloc(*to, more);
        if (!grown) {
            return -ENOMEM;
        }
        *to = grown;
        *room = more;
    }
    memcpy(*to + *used, bytes, count);
    *used += count;
    (*to)[*used] = 0;
    return 0;
}

static int end_line(struct sse *s, int (*event)(void *, const char *, size_t), void *context)
{
    const char *line = s->line ? s->line : "";
    size_t n = s->line_bytes;
    s->line_bytes = 0;
    if (n == 0) { // the event's end
        bool any = s->has_data;
        size_t bytes = s->bytes;
        s->bytes = 0;
        s->has_data = false;
        return any ? event(context, bytes ? s->data : "", bytes) : 0;
    }
    if (n < 5 || memcmp(line, "data:", 5) != 0) {
        return 0;
    }
    size_t skip = n > 5 && line[5] == ' ' ? 6 : 5;
    int rc = s->has_data ? add(&s->data, &s->bytes, &s->room, "\n", 1) : 0;
    s->has_data = true;
    return rc ? rc : add(&s->data, &s->bytes, &s->room, line + skip, n - skip);
}

int sse_push(struct sse *s, const char *bytes, size_t count,
             int (*event)(void *context, const char *data, size_t bytes), void *context)
{
    for (size_t i = 0; i < count;) {
        if (s->after_return && bytes[i] == '\n') {
            i++;
            s->after_return = false;
            continue;
        }
        s->after_return = false;
        size_t n = i;
        while (n < count && bytes[n] != '\n' && bytes[n] != '\r') {
            n++;
        }
        int rc = add(&s->line, &s->line_bytes, &s->line_room, bytes + i, n - i);
        if (!rc && n < count) {
            s->after_return = bytes[n] == '\r';
            rc = end_line(s, event, context);
            n++;
        }
        if (rc) {
            return rc;
        }
        i = n;
    }
    return 0;
}

void sse_free(struct sse *s)
{
    free(s->data);
    free(s->line);
    *s = (struct sse){0};
}
