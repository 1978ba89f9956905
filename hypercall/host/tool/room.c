// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Whether a file will fit, known before hours are spent on writing it.
#include "hypercall/host/tool/tool.h"

#include <limits.h>
#include <string.h>
#include <sys/statvfs.h>

int tool_check_room(const char *path, uint64_t bytes)
{
    char folder[PATH_MAX];
    struct statvfs room;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) {
        slash[slash == folder] = 0;
    } else {
        strcpy(folder, ".");
    }
    if (statvfs(folder, &room) != 0) {
        return TOOL_OK; // the writing will tell
    }
    uint64_t have = (uint64_t)room.f_bavail * room.f_frsize;
    return have >= bytes ? TOOL_OK
                         : tool_fail("%s: takes %llu MB, and there are only %llu MB free", path,
                                     (unsigned long long)((bytes + (1 << 20) - 1) >> 20),
                                     (unsigned long long)(have >> 20));
}
