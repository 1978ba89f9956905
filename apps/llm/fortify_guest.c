// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The checked functions that archives built against glibc call (jansson, PCRE2). Weak: the libos's
// own, where it has them, win. A check that fails ends the machine, as fortify means it to.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEAK __attribute__((weak))

WEAK void *__memcpy_chk(void *to, const void *from, size_t n, size_t room);
WEAK char *__strncpy_chk(char *to, const char *from, size_t n, size_t room);
WEAK int __snprintf_chk(char *to, size_t n, int flag, size_t room, const char *format, ...);
WEAK int __vsnprintf_chk(char *to, size_t n, int flag, size_t room, const char *format,
                         va_list args);

static void check(size_t n, size_t room)
{
    if (n > room)
        abort();
}

WEAK void *__memcpy_chk(void *to, const void *from, size_t n, size_t room)
{
    check(n, room);
    return memcpy(to, from, n);
}

WEAK char *__strncpy_chk(char *to, const char *from, size_t n, size_t room)
{
    check(n, room);
    return strncpy(to, from, n);
}

WEAK int __vsnprintf_chk(char *to, size_t n, int flag, size_t room, const char *format,
                         va_list args)
{
    (void)flag;
    check(n, room);
    return vsnprintf(to, n, format, args);
}

WEAK int __snprintf_chk(char *to, size_t n, int flag, size_t room, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = __vsnprintf_chk(to, n, flag, room, format, args);
    va_end(args);
    return length;
}
