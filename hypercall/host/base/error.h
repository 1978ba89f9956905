// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Errors of libraries: a negative errno is returned, the words for people go into the caller's
// text.
#ifndef TESSERA_BASE_ERROR_H
#define TESSERA_BASE_ERROR_H

#include <stddef.h>

// Writes the words, cut at error_bytes, and returns rc.
int error_say(char *error, size_t error_bytes, int rc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
