// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Keys that commands are given: by file, so that nobody else sees them, or on the command line.
#include "hypercall/host/tool/tool.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

// The one word of a file. What follows a first line of standard input is left there.
static int read_key(const char *file, char room[TOOL_KEY])
{
    static const char blanks[] = " \t\r\n";
    bool standard = strcmp(file, "-") == 0;
    FILE *f = standard ? stdin : fopen(file, "re");
    if (!f) {
        return tool_fail("--key-file: %s: %s", file, strerror(errno));
    }
    size_t n = 0;
    room[0] = 0;
    errno = 0;
    if (standard) {
        n = fgets(room, TOOL_KEY, f) ? strlen(room) : 0;
    } else {
        n = fread(room, 1, TOOL_KEY - 1, f);
        room[n] = 0;
    }
    int failed = ferror(f) ? errno : 0;
    if (!standard) {
        fclose(f);
    }
    if (failed) {
        return tool_fail("--key-file: %s: %s", file, strerror(failed));
    }
    size_t from = strspn(room, blanks), length = strcspn(room + from, blanks);
    const char *rest = room + from + length;
    if (length == 0 || rest[strspn(rest, blanks)] || strlen(room) != n || n == TOOL_KEY - 1) {
        return tool_misuse("--key-file: %s does not hold one key: one word of printable ASCII",
                           standard ? "standard input" : file);
    }
    memmove(room, room + from, length);
    room[length] = 0;
    return TOOL_OK;
}

int tool_key(const char *file, char room[TOOL_KEY], const char **key)
{
    if (*key && file) {
        return tool_misuse("--key or --key-file, not both");
    }
    if (file) {
        *key = room;
        return read_key(file, room);
    }
    if (*key && strlen(*key) < TOOL_KEY) { // longer ones are refused as keys
        char *on_line = (char *)(uintptr_t)*key;
        strcpy(room, on_line);
        memset(on_line, '*', strlen(on_line));
        *key = room;
    }
    return TOOL_OK;
}
