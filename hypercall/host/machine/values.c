// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Values that a machine is asked for with: sets of CPUs, CPU models, PCI addresses.
#include "hypercall/host/machine/machine.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool read_number(const char **at, uint32_t *out)
{
    uint32_t n = 0;
    const char *c = *at;
    for (; isdigit((unsigned char)*c) && n < MACHINE_MOST_CPUS; c++) {
        n = 10 * n + (uint32_t)(*c - '0');
    }
    bool good = c != *at && n < MACHINE_MOST_CPUS;
    *at = c;
    *out = n;
    return good;
}

int machine_set_member(const char *set, uint32_t index, uint32_t *out)
{
    uint32_t next = 0, first, last, passed = 0;
    int rc = -ENOENT;
    for (const char *c = set;;) {
        if (!read_number(&c, &first)) {
            return -EINVAL;
        }
        last = first;
        if (*c == '-') {
            c++;
            if (!read_number(&c, &last)) {
                return -EINVAL;
            }
        }
        if (first < next || last < first) {
            return -EINVAL;
        }
        if (rc != 0 && index - passed <= last - first) {
            *out = first + index - passed;
            rc = 0;
        }
        passed += last - first + 1;
        next = last + 1;
        if (*c != ',') {
            return *c ? -EINVAL : rc;
        }
        c++;
    }
}

// Names of models and features as libvirt has them.
static size_t name_length(const char *text)
{
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || (text[n] && strchr("._-", text[n]))) {
        n++;
    }
    return n;
}

bool machine_cpu_is_valid(const char *text)
{
    size_t n = name_length(text);
    if (n == 0 || !isalnum((unsigned char)text[0])) {
        return false;
    }
    for (text += n; *text == ','; text += n) {
        if (text[1] != '+' && text[1] != '-') {
            return false;
        }
        text += 2;
        n = name_length(text);
        if (n == 0 || !isalnum((unsigned char)text[0])) {
            return false;
        }
    }
    return *text == 0;
}

bool machine_address_is_valid(const char *text)
{
    static const char form[] = "xxxx:xx:xx.o";
    size_t i = 0;
    for (; form[i]; i++) {
        bool good = form[i] == 'x'   ? isxdigit((unsigned char)text[i])
                    : form[i] == 'o' ? text[i] >= '0' && text[i] <= '7'
                                     : text[i] == form[i];
        if (!good) {
            return false;
        }
    }
    return text[i] == 0;
}
