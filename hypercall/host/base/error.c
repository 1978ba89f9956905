// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
#include "hypercall/host/base/error.h"

#include <stdarg.h>
#include <stdio.h>

int error_say(char *error, size_t error_bytes, int rc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_bytes, format, args);
    va_end(args);
    return rc;
}
