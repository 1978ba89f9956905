// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A command line into words.
#include "libos/shell/editor.h"

#include <errno.h>

int shell_split(char *line, char **words, int max)
{
    int count = 0;
    char *from = line, *to = line;
    for (;;) {
        while (*from == ' ') {
            from++;
        }
        if (*from == '\0') {
            return count;
        }
        if (count == max) {
            return -E2BIG;
        }
        words[count++] = to;
        char quote = 0;
        // `to` never passes `from`: quotes and backslashes only take away.
        for (; *from && (quote || *from != ' '); from++) {
            if (*from == quote) {
                quote = 0;
            } else if (!quote && (*from == '"' || *from == '\'')) {
                quote = *from;
            } else if (*from == '\\' && quote != '\'' && from[1]) {
                *to++ = *++from;
            } else {
                *to++ = *from;
            }
        }
        if (quote) {
            return -EINVAL;
        }
        bool end = *from == '\0';
        *to++ = '\0';
        if (end) {
            return count;
        }
        from++;
    }
}
