// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Text of addresses.
#include "libos/net/address.h"

#include <errno.h>
#include <string.h>

int net_split_prefix(const char *text, unsigned most, char *address, size_t room, unsigned *prefix)
{
    size_t bytes = strcspn(text, "/");
    if (bytes == 0 || bytes >= room)
        return -EINVAL;
    memcpy(address, text, bytes);
    address[bytes] = 0;
    *prefix = most;
    if (text[bytes] == 0)
        return 0;
    const char *digits = text + bytes + 1;
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 3 || digits[count] != 0)
        return -EINVAL;
    unsigned value = 0;
    for (size_t i = 0; i < count; i++)
        value = value * 10 + (unsigned)(digits[i] - '0');
    if (value > most)
        return -EINVAL;
    *prefix = value;
    return 0;
}
