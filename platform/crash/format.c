// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A small formatter that needs no libc, no memory and no floating point.
#include "platform/crash/format.h"

#include <stdbool.h>
#include <stdint.h>

struct sink {
    char *buf;
    size_t size, length;
};

struct spec {
    bool zero, left;
    int width, precision; // precision -1: none
    unsigned longs;       // 0: int, 1 or 2: 64 bit
    unsigned shorts;
};

static void put(struct sink *s, char c)
{
    if (s->length + 1 < s->size) {
        s->buf[s->length] = c;
    }
    s->length++;
}

static void pad(struct sink *s, char c, int count)
{
    for (; count > 0; count--) {
        put(s, c);
    }
}

static void put_text(struct sink *s, const struct spec *spec, const char *text)
{
    if (text == NULL) {
        text = "(null)";
    }
    int length = 0;
    while ((spec->precision < 0 || length < spec->precision) && text[length] != '\0') {
        length++;
    }
    pad(s, ' ', spec->left ? 0 : spec->width - length);
    for (int i = 0; i < length; i++) {
        put(s, text[i]);
    }
    pad(s, ' ', spec->left ? spec->width - length : 0);
}

static void put_number(struct sink *s, const struct spec *spec, uint64_t value, unsigned base,
                       bool upper, const char *sign)
{
    char digits[24];
    int count = 0, sign_length = 0;
    do {
        unsigned d = (unsigned)(value % base);
        digits[count++] = (char)(d < 10 ? '0' + d : (upper ? 'A' : 'a') + d - 10);
        value /= base;
    } while (value != 0);
    while (sign[sign_length] != '\0') {
        sign_length++;
    }
    int fill = spec->width - count - sign_length;
    pad(s, ' ', spec->left || spec->zero ? 0 : fill);
    while (*sign != '\0') {
        put(s, *sign++);
    }
    pad(s, '0', spec->zero && !spec->left ? fill : 0);
    while (count > 0) {
        put(s, digits[--count]);
    }
    pad(s, ' ', spec->left ? fill : 0);
}

static const char *read_number(const char *p, int *value)
{
    *value = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (*value < 10000) {
            *value = *value * 10 + (*p - '0');
        }
    }
    return p;
}

// va_list travels by a struct, since it may be an array type.
struct arguments {
    va_list list;
};

static const char *read_spec(const char *p, struct spec *spec, struct arguments *a)
{
    *spec = (struct spec){.precision = -1};
    for (; *p == '0' || *p == '-'; p++) {
        spec->zero |= *p == '0';
        spec->left |= *p == '-';
    }
    if (*p == '*') {
        spec->width = va_arg(a->list, int);
        if (spec->width < 0) {
            spec->left = true;
            spec->width = -spec->width;
        }
        p++;
    } else {
        p = read_number(p, &spec->width);
    }
    if (*p == '.') {
        p++;
        if (*p == '*') {
            spec->precision = va_arg(a->list, int);
            p++;
        } else {
            p = read_number(p, &spec->precision);
        }
    }
    for (;; p++) {
        if (*p == 'l' || *p == 'z' || *p == 't' || *p == 'j') {
            spec->longs++;
        } else if (*p == 'h') {
            spec->shorts++;
        } else {
            return p;
        }
    }
}

static uint64_t take_unsigned(const struct spec *spec, struct arguments *a)
{
    uint64_t v = spec->longs > 0 ? va_arg(a->list, uint64_t) : va_arg(a->list, unsigned);
    return spec->shorts == 0 ? v : spec->shorts == 1 ? (uint16_t)v : (uint8_t)v;
}

static int64_t take_signed(const struct spec *spec, struct arguments *a)
{
    int64_t v = spec->longs > 0 ? va_arg(a->list, int64_t) : va_arg(a->list, int);
    return spec->shorts == 0 ? v : spec->shorts == 1 ? (int16_t)v : (int8_t)v;
}

static void convert(struct sink *s, const struct spec *spec, char kind, struct arguments *a)
{
    char one[2] = {0, 0};
    int64_t v;
    switch (kind) {
    case 's':
        put_text(s, spec, va_arg(a->list, const char *));
        break;
    case 'c':
        one[0] = (char)va_arg(a->list, int);
        put_text(s, spec, one);
        break;
    case 'd':
    case 'i':
        v = take_signed(spec, a);
        put_number(s, spec, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, false, v < 0 ? "-" : "");
        break;
    case 'u':
        put_number(s, spec, take_unsigned(spec, a), 10, false, "");
        break;
    case 'x':
    case 'X':
        put_number(s, spec, take_unsigned(spec, a), 16, kind == 'X', "");
        break;
    case 'p':
        put_number(s, spec, (uint64_t)(uintptr_t)va_arg(a->list, void *), 16, false, "0x");
        break;
    case '%':
        put(s, '%');
        break;
    default:
        put(s, '%');
        put(s, kind);
    }
}

size_t pf_format(char *buf, size_t size, const char *format, va_list args)
{
    struct sink s = {buf, size, 0};
    struct arguments a;
    va_copy(a.list, args);
    for (const char *p = format; *p != '\0'; p++) {
        if (*p != '%') {
            put(&s, *p);
            continue;
        }
        struct spec spec;
        p = read_spec(p + 1, &spec, &a);
        if (*p == '\0') {
            put(&s, '%');
            break;
        }
        convert(&s, &spec, *p, &a);
    }
    va_end(a.list);
    if (size > 0) {
        buf[s.length < size ? s.length : size - 1] = '\0';
    }
    return s.length;
}
