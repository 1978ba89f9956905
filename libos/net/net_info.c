// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What `net` and /metrics show. The net strand keeps a snapshot; readers on other cores copy it.
#include "libos/net/net_private.h"

#include "libos/spin.h"

#include <lwip/dns.h>
#include <lwip/netif.h>
#include <lwip/priv/tcp_priv.h>
#include <stdio.h>
#include <string.h>

enum { UPDATE_MS = 50 };

static struct net_info snapshot; // under lock
static uint32_t lock;

static void addresses(struct netif *n, struct net_info *out)
{
    if (!ip4_addr_isany_val(*netif_ip4_addr(n))) {
        char address[20];
        unsigned prefix = (unsigned)__builtin_popcount(netif_ip4_netmask(n)->addr);
        ip4addr_ntoa_r(netif_ip4_addr(n), address, sizeof address);
        snprintf(out->address, sizeof out->address, "%s/%u", address, prefix);
        out->bound = true;
    }
    if (!ip4_addr_isany_val(*netif_ip4_gw(n)))
        ip4addr_ntoa_r(netif_ip4_gw(n), out->gateway, sizeof out->gateway);
    if (!ip_addr_isany(dns_getserver(0)))
        ipaddr_ntoa_r(dns_getserver(0), out->dns, sizeof out->dns);
    size_t count = 0;
    for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES && count < 4; i++)
        if (ip6_addr_isvalid(netif_ip6_addr_state(n, i)))
            ip6addr_ntoa_r(netif_ip6_addr(n, i), out->address6[count++], sizeof out->address6[0]);
}

void net_info_update(struct netif *n)
{
    static uint64_t updated;
    static ip4_addr_t last_address;
    uint64_t now = net_now_ms();
    if (updated && now < updated + UPDATE_MS && last_address.addr == netif_ip4_addr(n)->addr)
        return;
    updated = now;
    last_address = *netif_ip4_addr(n);
    struct net_interface *interface = n->state;
    struct netdev *d = interface->device;
    struct net_info info = {0};
    addresses(n, &info);
    memcpy(info.mac, d->mac, sizeof info.mac);
    info.link_up = d->link_up;
    info.rx_frames = d->rx_frames;
    info.rx_bytes = d->rx_bytes;
    info.tx_frames = d->tx_frames;
    info.tx_bytes = d->tx_bytes;
    info.rx_dropped = d->rx_dropped;
    info.tx_dropped = d->tx_dropped;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
        info.tcp_active++;
    spin_lock(&lock);
    snapshot = info;
    spin_unlock(&lock);
}

void net_get_info(struct net_info *out)
{
    spin_lock(&lock);
    *out = snapshot;
    spin_unlock(&lock);
}
