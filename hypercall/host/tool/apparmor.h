// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which of our rules a file of AppArmor's has (hypercall/host/apparmor/libvirt-qemu).
#ifndef TESSERA_TOOL_APPARMOR_H
#define TESSERA_TOOL_APPARMOR_H

#include <stdbool.h>

struct apparmor_rules {
    bool current; // this version's
    bool denies;  // an older version's, of which guests with UEFI do not start; a denial wins
};
// A file that cannot be read has none.
struct apparmor_rules apparmor_rules(const char *path);

// The command, before the file's name, that takes what `denies` tells of out of it.
#define APPARMOR_DROP_OLD "sed -i '\\#^[[:space:]]*deny /var/lib/tessera/\\*\\* w,#d' "

#endif
