// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// How far a volume is, as a text of fixed size: what stands there may be torn, or anything.
#include "hypercall/host/remote/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static unsigned sum(const char *text)
{
    unsigned s = 5381;
    for (; *text; text++) {
        s = s * 33u + (unsigned char)*text;
    }
    return s;
}

void remote_state_print(const struct remote_state *s, char out[REMOTE_STATE])
{
    char body[REMOTE_STATE - 16];
    memset(out, 0, REMOTE_STATE);
    snprintf(body, sizeof body, "tessera 1 %020" PRIu64 " %c %s", s->acknowledged,
             s->checked ? 'y' : 'n', s->modified[0] ? s->modified : "-");
    snprintf(out, REMOTE_STATE, "%s %08x\n", body, sum(body));
}

int remote_state_parse(const char text[REMOTE_STATE], struct remote_state *out)
{
    char copy[REMOTE_STATE], checked, again[REMOTE_STATE];
    *out = (struct remote_state){0};
    memcpy(copy, text, REMOTE_STATE);
    copy[REMOTE_STATE - 1] = 0;
    struct remote_state s = {0};
    if (sscanf(copy, "tessera 1 %20" SCNu64 " %c %39s", &s.acknowledged, &checked, s.modified) !=
        3) {
        return -EINVAL;
    }
    s.checked = checked == 'y';
    if (strcmp(s.modified, "-") == 0) {
        s.modified[0] = 0;
    }
    // Only what is written so, to the last byte.
    remote_state_print(&s, again);
    if (memcmp(again, text, REMOTE_STATE) != 0) {
        return -EINVAL;
    }
    *out = s;
    return 0;
}
