// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A machine that goes on from a saved state, maybe elsewhere on the network and much later: its
// lease is asked for again, the link learns where it is.
#include "libos/net/net_private.h"

#include "libos/log.h"
#include "platform/generation.h"
#include "platform/time.h"

#include <lwip/dhcp.h>
#include <lwip/etharp.h>
#include <lwip/netif.h>
#include <stdio.h>
#include <time.h>

enum { LOOK_MS = 100 };

void net_resume_look(struct netif *n)
{
    static uint64_t looked_ms;
    static uint32_t seen;
    uint64_t now = net_now_ms();
    if (now - looked_ms < LOOK_MS) {
        return;
    }
    looked_ms = now;
    uint32_t generation = pf_generation_look();
    if (generation == seen) {
        return;
    }
    seen = generation;
    char text[40] = "?";
    time_t wall = (time_t)(pf_wall_ns() / 1000000000u);
    struct tm t;
    if (gmtime_r(&wall, &t)) {
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &t);
    }
    log_info("resume", "went on from a saved state (number %u since the boot); it is %s",
             generation, text);
    if (dhcp_supplied_address(n)) {
        dhcp_network_changed(n);
    } else if (!ip4_addr_isany_val(*netif_ip4_addr(n))) {
        etharp_gratuitous(n);
    }
}
