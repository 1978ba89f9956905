// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
#include "hypercall/host/tool/apparmor.h"

#include <stdio.h>
#include <string.h>

static bool begins(const char *line, const char *rule)
{
    return strncmp(line, rule, strlen(rule)) == 0;
}

struct apparmor_rules apparmor_rules(const char *path)
{
    struct apparmor_rules found = {0};
    char line[512];
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        const char *rule = line + strspn(line, " \t");
        found.current |= begins(rule, "/var/lib/tessera/{models,cache,images}/** rk,");
        found.denies |= begins(rule, "deny /var/lib/tessera/** w,");
    }
    if (f) {
        fclose(f);
    }
    return found;
}
