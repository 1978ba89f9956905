// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// lwIP 2.1 as this library OS runs it: no operating system underneath, the raw callback API, one
// strand. Sized so that a guest of 32 MB serves 256 connections. Each option: what it is, and why
// this value.
#ifndef LIBOS_NET_PORT_LWIPOPTS_H
#define LIBOS_NET_PORT_LWIPOPTS_H

// ---- how it runs ----
#define NO_SYS                  1 // callbacks on the net strand; no threads or mailboxes of lwIP's
#define SYS_LIGHTWEIGHT_PROT    0 // nobody else touches its state, so there is nothing to lock
#define LWIP_NETCONN            0 // needs threads
#define LWIP_SOCKET             0 // likewise
#define LWIP_TIMERS             1 // sys_check_timeouts(), called by the net strand
#define LWIP_NETIF_API          0
#define LWIP_TCPIP_CORE_LOCKING 0
#define LWIP_SINGLE_NETIF       0 // loopback answers beside the device

// ---- memory ----
#define MEM_ALIGNMENT           8
#define MEM_LIBC_MALLOC         1 // segments to send come from malloc (the KERNEL zone) …
#define MEMP_MEM_MALLOC         0 // … control blocks from fixed pools: their number is the bound
#define MEMP_NUM_TCP_PCB        384 // 256 served, 32 being told 503, the rest closing or half open
#define MEMP_NUM_SYS_TIMEOUT    (LWIP_NUM_SYS_TIMEOUT_INTERNAL + 8) // lwIP's own timers and ours
#define MEMP_NUM_TCP_PCB_LISTEN 8
#define MEMP_NUM_UDP_PCB        8    // DHCP, DNS
#define MEMP_NUM_TCP_SEG        2048 // segments queued by all connections (32 bytes each)
#define MEMP_NUM_REASSDATA      1    // unused (reassembly is off)
#define MEMP_NUM_ARP_QUEUE      32   // packets waiting for an ARP answer
#define MEMP_NUM_ND6_QUEUE      32   // packets waiting for a neighbour
#define MEMP_NUM_PBUF           64   // headers without memory of their own
#define PBUF_POOL_SIZE          128  // frames received and not yet copied on (out-of-order data)
#define PBUF_POOL_BUFSIZE       1536 // one whole Ethernet frame
#define PBUF_LINK_HLEN          14
#define ETH_PAD_SIZE            0 // x86 does not mind unaligned words

// ---- TCP ----
#define LWIP_TCP                   1
#define TCP_MSS                    1460           // Ethernet's 1500 less 40
#define TCP_CALCULATE_EFF_SEND_MSS 1              // less on IPv6 and on smaller MTUs
#define TCP_WND                    (44 * TCP_MSS) // 64,240: what one connection may have unread
#define LWIP_WND_SCALE             1              // peers' windows above 64 KB are used
#define TCP_RCV_SCALE              0              // ours fits in 16 bits
#define TCP_SND_BUF                (32 * TCP_MSS) // sent and not acknowledged; more waits in the HTTP core
#define TCP_SND_QUEUELEN           96             // pbufs of that
#define TCP_SNDLOWAT               (8 * TCP_MSS)
#define TCP_OVERSIZE               256 // slack in a segment: a stream's next small piece fits, no page is wasted
#define TCP_QUEUE_OOSEQ            1  // a lost frame costs that frame, not the whole window
#define TCP_OOSEQ_MAX_PBUFS        16 // of one connection: nobody takes the whole pool
#define LWIP_TCP_SACK_OUT          1  // tell the peer what did arrive
#define LWIP_TCP_MAX_SACK_NUM      4
#define LWIP_TCP_TIMESTAMPS        0 // 12 bytes a segment for nothing on these windows
#define LWIP_TCP_KEEPALIVE                                                                         \
    1 // a peer that died without a word is noticed (http_lwip.c sets the times)
#define TCP_LISTEN_BACKLOG         1
#define TCP_DEFAULT_LISTEN_BACKLOG 64 // half-open connections: a SYN flood gets this far
#define TCP_MAXRTX                 8  // retransmissions, about 50 s, then the connection is reset
#define TCP_SYNMAXRTX              4
#define TCP_MSL                    2000 // TIME_WAIT lasts 4 s; a full pool recycles the oldest at once
#define TCP_FIN_WAIT_TIMEOUT       10000 // a peer that never sends its FIN
#define TCP_SYN_RCVD_TIMEOUT       10000
#define LWIP_HOOK_FILENAME         "net_port.h"
#define LWIP_HOOK_TCP_ISN          net_port_isn // RFC 6528: not guessable

// ---- IPv4 ----
#define LWIP_IPV4                 1
#define LWIP_ARP                  1
#define ARP_TABLE_SIZE            32
#define ARP_QUEUEING              1 // the first answer waits for ARP instead of being lost
#define ETHARP_TRUST_IP_MAC       0 // only ARP changes the table
#define IP_FORWARD                0 // a guest is no router
#define IP_REASSEMBLY             0 // nothing we speak needs fragments, much abuses them
#define IP_FRAG                   0
#define IP_OPTIONS_ALLOWED        0 // source routing and the like are dropped
#define LWIP_IGMP                 0
#define LWIP_ICMP                 1
#define LWIP_BROADCAST_PING       0
#define LWIP_MULTICAST_PING       0
#define LWIP_RAW                  0
#define LWIP_AUTOIP               0
#define LWIP_DHCP                 1
#define DHCP_DOES_ARP_CHECK       0 // the lease is used at once: the check would cost a second of start
#define LWIP_DHCP_MAX_DNS_SERVERS 1
#define LWIP_DHCP_GET_NTP_SRV     0
#define LWIP_DNS                  1 // keeps the server's address (net_info)
#define DNS_TABLE_SIZE            2
#define LWIP_UDP                  1

// ---- IPv6 ----
#define LWIP_IPV6                     1
#define LWIP_IPV6_MLD                 1 // solicited-node groups: switches that snoop forward to us
#define LWIP_IPV6_AUTOCONFIG          1 // SLAAC
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 1
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS 1
#define LWIP_IPV6_DHCP6               0
#define LWIP_IPV6_FORWARD             0
#define LWIP_IPV6_FRAG                0
#define LWIP_IPV6_REASS               0
#define LWIP_IPV6_NUM_ADDRESSES       4 // link-local, static, two by SLAAC
#define LWIP_ND6_NUM_NEIGHBORS        32
#define LWIP_ND6_NUM_DESTINATIONS     32
#define LWIP_ND6_QUEUEING             1
#define LWIP_ICMP6                    1
#define LWIP_ND6_ALLOW_RA_UPDATES     1
#define MEMP_NUM_MLD6_GROUP           8

// ---- interface ----
#define LWIP_NETIF_HOSTNAME        1
#define LWIP_NETIF_STATUS_CALLBACK 1
#define LWIP_NETIF_LOOPBACK        0
#define LWIP_HAVE_LOOPIF           0
#define LWIP_ETHERNET              1

// ---- checksums: in software, or left to the device packet by packet (netif.c) ----
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1
#define LWIP_CHECKSUM_ON_COPY        0
#define LWIP_CHKSUM                  net_checksum

// ---- accounting ----
#define LWIP_STATS         1
#define LWIP_STATS_DISPLAY 0
#define LWIP_STATS_LARGE   1
#define MEMP_STATS         1 // the leak test and `net` read the pools
#define MEM_STATS          0
#define SYS_STATS          0
#define LINK_STATS         0
#define IP_STATS           0
#define ICMP_STATS         0
#define UDP_STATS          0
#define TCP_STATS          1
#define IP6_STATS          0
#define ICMP6_STATS        0
#define MLD6_STATS         0
#define ND6_STATS          0
#define ETHARP_STATS       0

#endif
