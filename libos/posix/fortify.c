// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The checked functions that archives built against glibc with _FORTIFY_SOURCE call (jansson,
// PCRE2, mbedTLS) and musl does not have. A check that fails ends the machine, as fortify means it
// to.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *__memcpy_chk(void *to, const void *from, size_t n, size_t room);
void *__memset_chk(void *to, int byte, size_t n, size_t room);
char *__strncpy_chk(char *to, const char *from, size_t n, size_t room);
int __printf_chk(int flag, const char *format, ...);
int __snprintf_chk(char *to, size_t n, int flag, size_t room, const char *format, ...);
int __vsnprintf_chk(char *to, size_t n, int flag, size_t room, const char *format, va_list args);

static void check(size_t n, size_t room)
{
    if (n > room) {
        abort();
    }
}

void *__memcpy_chk(void *to, const void *from, size_t n, size_t room)
{
    check(n, room);
    return memcpy(to, from, n);
}

void *__memset_chk(void *to, int byte, size_t n, size_t room)
{
    check(n, room);
    return memset(to, byte, n);
}

char *__strncpy_chk(char *to, const char *from, size_t n, size_t room)
{
    check(n, room);
    return strncpy(to, from, n);
}

int __printf_chk(int flag, const char *format, ...)
{
    va_list args;
    (void)flag;
    va_start(args, format);
    int length = vprintf(format, args);
    va_end(args);
    return length;
}

int __vsnprintf_chk(char *to, size_t n, int flag, size_t room, const char *format, va_list args)
{
    (void)flag;
    check(n, room);
    return vsnprintf(to, n, format, args);
}

int __snprintf_chk(char *to, size_t n, int flag, size_t room, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = __vsnprintf_chk(to, n, flag, room, format, args);
    va_end(args);
    return length;
}
