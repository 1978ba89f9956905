// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The Internet checksum (RFC 1071), eight bytes at a time: the sum is the same for any word size as
// long as carries come back in.
#include "libos/net/port/net_port.h"

#include <string.h>

static uint64_t add(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word); // end-around carry
}

uint16_t net_checksum(const void *data, int bytes)
{
    const unsigned char *p = data;
    uint64_t sum = 0, word;
    for (; bytes >= 8; bytes -= 8, p += 8) {
        memcpy(&word, p, 8);
        sum = add(sum, word);
    }
    if (bytes > 0) {
        word = 0;
        memcpy(&word, p, (size_t)bytes);
        sum = add(sum, word);
    }
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)sum;
}
