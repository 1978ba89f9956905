// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A record's keys, apart from it: whoever may read a domain's XML reads the record, but not the
// file that holds them. As text one key a line: the guests' own first, then the clients' that
// fleet.yaml lists. Pure: JSON text in, text out, which the caller frees; NULL: no memory, or the
// text is none of a record's.
#ifndef TESSERA_FLEET_SECRETS_H
#define TESSERA_FLEET_SECRETS_H

#include <stddef.h>

enum { FLEET_SECRETS_MOST_BYTES = 64 << 10 };

// The record without its keys; `path` says where they are. *keys: the other half.
char *fleet_secrets_hide(const char *record, const char *path, char **keys);
// "": its keys are in it, as older ones' are. -EINVAL: no record, or a longer path.
int fleet_secrets_path(const char *record, char *path, size_t room);
// The whole record again. The keys count, also where the record knows of another number of them
// (they are written first), except none instead of some: as if nobody knew them. keys NULL: nobody
// knows them; clients' keys become random words, so that no one gets in who could not before, and
// the guests' key is internal_key (NULL: random, too).
char *fleet_secrets_show(const char *record, const char *keys, const char *internal_key);

#endif
