// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the records' files share.
#ifndef TESSERA_MACHINE_RECORD_PRIVATE_H
#define TESSERA_MACHINE_RECORD_PRIVATE_H

#include <jansson.h>
#include <stddef.h>

// Writes a JSON object beside `path`, then puts it there. Takes o; NULL: -ENOMEM.
int record_store(const char *path, json_t *o, char *error, size_t error_bytes);

#endif
