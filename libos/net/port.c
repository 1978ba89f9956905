// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What lwIP asks of its platform: time, randomness, sequence numbers, the end.
#include "libos/net/port/net_port.h"

#include "libos/net/isn.h"
#include "libos/virtio.h"
#include "platform/generation.h"
#include "platform/power.h"
#include "platform/time.h"

#include <lwip/ip_addr.h>
#include <string.h>

uint32_t sys_now(void);
uint32_t sys_now(void)
{
    return (uint32_t)(pf_now_ns() / 1000000);
}

uint32_t net_port_random(void)
{
    // Before the generator is seeded only DHCP asks, for a transaction number that all of the link
    // sees anyway; waiting for entropy would delay the guest's address.
    static uint64_t count;
    if (!random_is_seeded()) {
        static const uint8_t no_key[16];
        uint64_t seed[2] = {pf_now_ns(), ++count};
        return (uint32_t)net_siphash(no_key, (const uint8_t *)seed, sizeof seed);
    }
    uint32_t value;
    random_bytes(&value, sizeof value);
    return value;
}

void net_port_panic(const char *what, const char *file, int line)
{
    pf_panic("network stack: %s (%s:%d)", what, file, line);
}

uint32_t net_port_isn(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                      uint16_t remote_port)
{
    static uint8_t key[16];
    static uint32_t generation = UINT32_MAX;
    if (generation != pf_generation_look()) { // two runs of one state must not answer alike
        random_bytes(key, sizeof key);
        generation = pf_generation();
    }
    uint8_t tuple[36] = {0};
    memcpy(tuple, local, IP_IS_V6(local) ? 16 : 4);
    memcpy(tuple + 16, remote, IP_IS_V6(remote) ? 16 : 4);
    memcpy(tuple + 32, &local_port, 2);
    memcpy(tuple + 34, &remote_port, 2);
    return net_isn(key, tuple, sizeof tuple, pf_now_ns());
}
