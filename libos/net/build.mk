# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# What the network needs besides the general rules: lwIP and llhttp as guest objects, from sources
# that never enter the repository. Included by libos/build.mk.

lwip := $(BUILD)/third_party/lwip
lwip_stamp := $(lwip)/.sha256
$(lwip_stamp): ci/fetch-lwip.sh
	sh ci/fetch-lwip.sh
	@touch $@

lwip_sources := $(addprefix src/core/,def.c dns.c inet_chksum.c init.c ip.c mem.c memp.c netif.c \
	pbuf.c raw.c stats.c sys.c tcp.c tcp_in.c tcp_out.c timeouts.c udp.c \
	ipv4/dhcp.c ipv4/etharp.c ipv4/icmp.c ipv4/ip4.c ipv4/ip4_addr.c ipv4/ip4_frag.c \
	ipv6/ethip6.c ipv6/icmp6.c ipv6/inet6.c ipv6/ip6.c ipv6/ip6_addr.c ipv6/ip6_frag.c \
	ipv6/mld6.c ipv6/nd6.c) src/netif/ethernet.c
llhttp_sources := api.c http.c llhttp.c

LWIP_INCLUDES := -Ilibos/net/port -isystem $(lwip)/src/include
LLHTTP_FLAGS := -DLLHTTP_STRICT_MODE=1 -I/usr/share/include/llhttp -w

lwip_objs := $(patsubst %.c,$(BUILD)/guest/third_party/lwip/%.o,$(lwip_sources))
llhttp_objs := $(patsubst %.c,$(BUILD)/guest/third_party/llhttp/%.o,$(llhttp_sources))
libos_extra_objs += $(lwip_objs) $(llhttp_objs)

# Someone else's code: its warnings are not ours, its behaviour (port/lwipopts.h) is.
$(BUILD)/guest/third_party/lwip/%.o: $(lwip_stamp) libos/net/port/lwipopts.h libos/net/port/arch/cc.h
	@mkdir -p $(@D)
	$(call say,guest $@)
	$(Q)$(CC) $(GUEST_CFLAGS) $(LIBOS_CFLAGS) $(LWIP_INCLUDES) -w -MMD -MP -c $(lwip)/$*.c -o $@
$(BUILD)/guest/third_party/llhttp/%.o: /usr/share/llhttp/%.c
	@mkdir -p $(@D)
	$(call say,guest $@)
	$(Q)$(CC) $(GUEST_CFLAGS) $(LIBOS_CFLAGS) $(LLHTTP_FLAGS) -MMD -MP -c $< -o $@

# Tests, fuzzers and host programs name llhttp's sources by their own path.
$(foreach f,$(llhttp_sources),$(eval CFLAGS_/usr/share/llhttp/$(f) := $(LLHTTP_FLAGS)))

lwip_users := net netif net_info configure port resume http_lwip
$(foreach f,$(lwip_users),$(eval CFLAGS_libos/net/$(f).c := $(LWIP_INCLUDES)))
$(patsubst %,$(BUILD)/guest/libos/net/%.o,$(lwip_users)): | $(lwip_stamp)

# The image for trying the stack by hand needs no tensor runtime.
IMAGE_LAYERS_hello := platform libos
