// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The formatter behind pf_printk and pf_panic.
#ifndef PLATFORM_CRASH_FORMAT_H
#define PLATFORM_CRASH_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

// As vsnprintf, for %s %c %d %i %u %x %X %p %% with flags 0 and -, width, precision of strings
// (both also as *), and h hh l ll z t j. An unknown conversion is copied as it stands. Always
// terminates buf when size > 0; returns the length the whole text has.
size_t pf_format(char *buf, size_t size, const char *format, va_list args);

#endif
