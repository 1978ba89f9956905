// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Between the files of the network stack. All of it belongs to the net strand unless it says
// otherwise.
#ifndef LIBOS_NET_NET_PRIVATE_H
#define LIBOS_NET_NET_PRIVATE_H

#include "libos/net.h"
#include "libos/netdev.h"

#include <stdbool.h>
#include <stdint.h>

struct netif;

struct pbuf;

enum { NET_EARLY_MAX = 8 };

// netif.c: an Ethernet interface of lwIP over a netdev.
struct net_interface {
    struct netdev *device;
    const struct net_config *config;
    bool stalled;          // the device's ring was full; something waits to be sent again
    uint64_t rx_no_memory; // frames dropped for want of a pbuf
    uint64_t started_ms;
    struct pbuf *early[NET_EARLY_MAX]; // came before they could be served, oldest first
    size_t early_count;
};
// Callback for netif_add; n->state is a struct net_interface.
signed char net_interface_init(struct netif *n);
// Passes received frames to the stack; true if there may be more.
bool net_interface_poll(struct netif *n);

// Takes in what came too early, once it can be served.
void net_interface_replay(struct netif *n);

// configure.c: applies addresses to the interface; logs what is wrong with the configuration, by
// its key. config stays in use.
void net_configure(struct netif *n, const struct net_config *config);

// net_info.c: takes a snapshot for net_get_info, which any strand may call.
void net_info_update(struct netif *n);

// A protocol on top (HTTP) that wants a turn whenever the strand runs. poll returns when it must
// run next (ms, net_now_ms scale; 0: at once, UINT64_MAX: never).
struct net_poller {
    struct net_poller *next;
    uint64_t (*poll)(struct net_poller *p);
};
void net_poller_add(struct net_poller *p);
uint64_t net_now_ms(void);
// True on the net strand.
bool net_on_strand(void);

// resume.c: notices that the machine goes on from a saved state, at most ten times a second.
void net_resume_look(struct netif *n);

#endif
