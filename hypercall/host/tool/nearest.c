// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What somebody may have meant who mistyped a word.
#include "hypercall/host/tool/tool.h"

#include <string.h>

enum { WORD_MOST = 24 };

// Letters to change, add, leave out or swap with the next one, to make one word of the other
// (optimal string alignment).
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][WORD_MOST + 1];
    size_t n = strlen(a), m = strlen(b);
    unsigned *older = rows[0], *old = rows[1], *now = rows[2];
    if (n > WORD_MOST || m > WORD_MOST) {
        return WORD_MOST;
    }
    for (unsigned j = 0; j <= m; j++) {
        old[j] = j;
    }
    for (unsigned i = 1; i <= n; i++) {
        now[0] = i;
        for (unsigned j = 1; j <= m; j++) {
            unsigned best = old[j - 1] + (a[i - 1] != b[j - 1]);
            best = old[j] + 1 < best ? old[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                older[j - 2] + 1 < best) {
                best = older[j - 2] + 1;
            }
            now[j] = best;
        }
        unsigned *spare = older;
        older = old;
        old = now;
        now = spare;
    }
    return old[m];
}

bool tool_is_near(const char *word, const char *known, unsigned *best)
{
    unsigned d = distance(word, known);
    // One slip in a short word, two in a longer one.
    if (d > (strlen(word) > 4 ? 2u : 1u) || d >= *best) {
        return false;
    }
    *best = d;
    return true;
}
