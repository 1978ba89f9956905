// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The network stack: lwIP on one strand ("net"). Everything of lwIP and HTTP runs there; other
// strands hand work over with net_post.
#ifndef LIBOS_NET_H
#define LIBOS_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct net_config {      // from the manifest; strings may be NULL
    bool dhcp;           // IPv4 by DHCP; a static address goes before
    const char *address; // "10.0.2.15/24"
    const char *gateway;
    const char *dns;
    const char *address6; // "fd00::2/64"; NULL: SLAAC
    const char *hostname;
};
struct net_info {
    char address[48], gateway[48], address6[4][64], dns[48];
    uint8_t mac[6];
    bool link_up, bound;
    uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes, rx_dropped, tx_dropped, tcp_active;
};

// Starts the net strand and the interface; config is copied, its strings are not, NULL means DHCP.
// Once, at start. 0, -ENODEV (no network device), -EALREADY, -ENOMEM.
int net_start(const struct net_config *config);
// Runs fn(arg) on the net strand, in order. Any strand; not from interrupts. -ENOMEM if the queue
// is full, -ENODEV if net_start was not called or found no device.
int net_post(void (*fn)(void *arg), void *arg);
// What holds now, 50 ms old at most. Any strand.
void net_get_info(struct net_info *out);

#endif
