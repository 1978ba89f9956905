// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The interface's addresses from the configuration: static, or DHCP and SLAAC.
#include "libos/net/address.h"
#include "libos/net/net_private.h"

#include "libos/log.h"

#include <lwip/dhcp.h>
#include <lwip/dns.h>
#include <lwip/ip4_addr.h>
#include <lwip/ip6_addr.h>
#include <lwip/nd6.h>
#include <lwip/netif.h>
#include <lwip/timeouts.h>
#include <string.h>

enum { IP6_DELAY_MS = 30 };

static void set_static(struct netif *n, const struct net_config *config)
{
    char text[48];
    unsigned prefix;
    ip4_addr_t address, mask, gateway = {0};
    if (net_split_prefix(config->address, 32, text, sizeof text, &prefix) ||
        !ip4addr_aton(text, &address)) {
        log_error("net", "net.address=%s is not an IPv4 address with prefix, like 10.0.2.15/24",
                  config->address);
        return;
    }
    if (config->gateway && *config->gateway && !ip4addr_aton(config->gateway, &gateway)) {
        log_error("net", "net.gateway=%s is not an IPv4 address", config->gateway);
        return;
    }
    mask.addr = lwip_htonl(prefix ? 0xffffffffu << (32 - prefix) : 0);
    netif_set_addr(n, &address, &mask, &gateway);
}

static void set_static6(struct netif *n, const struct net_config *config)
{
    char text[64];
    unsigned prefix;
    ip6_addr_t address;
    s8_t index;
    if (net_split_prefix(config->address6, 128, text, sizeof text, &prefix) ||
        !ip6addr_aton(text, &address)) {
        log_error("net", "net.address6=%s is not an IPv6 address with prefix, like fd00::2/64",
                  config->address6);
        return;
    }
    if (prefix != 64) {
        log_error("net", "net.address6=%s: only a prefix of 64 bits is supported",
                  config->address6);
        return;
    }
    ip6_addr_assign_zone(&address, IP6_UNICAST, n);
    if (netif_add_ip6_address(n, &address, &index) != ERR_OK) {
        log_error("net", "net.address6=%s: no room for another address", config->address6);
        return;
    }
}

// IPv6 comes a moment after IPv4, so that a guest that is waited for has its first address sooner.
static void start_ip6(void *arg)
{
    struct netif *n = arg;
    const struct net_config *config = ((struct net_interface *)n->state)->config;
    netif_create_ip6_linklocal_address(n, 1);
    if (config->address6 && *config->address6)
        set_static6(n, config);
    else
        netif_set_ip6_autoconfig_enabled(n, 1);
    nd6_restart_netif(n); // asks the routers, now that there is an address to ask from
}

void net_configure(struct netif *n, const struct net_config *config)
{
    netif_set_hostname(n, config->hostname);
    bool fixed = config->address && *config->address;
    // A wrong address leaves the guest without one, not with another than it was told.
    if (fixed)
        set_static(n, config);
    if (config->dns && *config->dns) {
        ip_addr_t server;
        if (ipaddr_aton(config->dns, &server))
            dns_setserver(0, &server);
        else
            log_error("net", "net.dns=%s is not an address", config->dns);
    }
    // Up before DHCP starts, so that its first message leaves now; lwIP announces a static address.
    netif_set_up(n);
    if (!fixed && !config->dhcp)
        log_info("net", "net.dhcp=off and no net.address: no IPv4 address");
    else if (!fixed && dhcp_start(n) != ERR_OK)
        log_error("net", "DHCP cannot start: out of memory");
    sys_timeout(IP6_DELAY_MS, start_ip6, n);
}
