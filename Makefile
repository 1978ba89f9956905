# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Every entry point of the project. `make help` lists them.

BUILD := build
CC ?= gcc
CLANG ?= clang
NASM ?= nasm
APP ?= llm
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
# `make V=1` shows whole command lines.
Q := $(if $(V),,@)
say = $(if $(V),,@echo '  $(1)')

WARN := -Wall -Wextra -Wshadow -Wconversion -Werror
INCLUDES := -Iplatform/include -Ilibos/include -Itensor/include -Ihypercall/abi -I.
GCC_INCLUDE := $(shell $(CC) -print-file-name=include 2>/dev/null)
MUSL_INCLUDE := /usr/include/x86_64-linux-musl
MUSL_LIB := /usr/lib/x86_64-linux-musl
THIRD_PARTY := -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/share/include

# ---- sources -------------------------------------------------------------------------------
not_guest := %_test.c %_fuzz.c %_host.c %_main.c
find_c = $(sort $(filter-out $(not_guest),$(shell find $(1) -name '*.c' 2>/dev/null)))
platform_c := $(call find_c,platform)
platform_asm := $(sort $(shell find platform -name '*.asm' 2>/dev/null))
libos_c := $(call find_c,libos)
tensor_c := $(filter-out tensor/train/% tensor/cuda/%,$(call find_c,tensor))
hypercall_c := $(call find_c,hypercall/guest)
app_c = $(call find_c,apps/$(1))
channel_guest_c := $(call find_c,hypercall/channel)

# ---- guest ---------------------------------------------------------------------------------
GUEST_CFLAGS := -std=gnu11 -O2 -g $(WARN) -fPIE -fno-omit-frame-pointer -ffunction-sections \
	-fdata-sections -fno-strict-aliasing -nostdinc -isystem $(MUSL_INCLUDE) -isystem $(GCC_INCLUDE) \
	$(THIRD_PARTY) $(INCLUDES) -D_GNU_SOURCE -DTESSERA_GUEST=1 -ffile-prefix-map=$(CURDIR)=.
PLATFORM_CFLAGS := -mgeneral-regs-only -mno-red-zone -fno-stack-protector -ffreestanding
LIBOS_CFLAGS := -fstack-protector-strong
TENSOR_CFLAGS := -fstack-protector-strong -ffp-contract=off

# ---- host ----------------------------------------------------------------------------------
HOST_CFLAGS := -std=gnu11 -O3 -g $(WARN) -fno-omit-frame-pointer $(INCLUDES) -D_GNU_SOURCE \
	-idirafter /usr/share/include -ffp-contract=off
HOST_LIBS := -lpcre2-8 -lutf8proc -ljansson -lm -lpthread
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
TEST_CFLAGS := -std=gnu11 -O1 -g -fno-var-tracking-assignments $(WARN) -fno-omit-frame-pointer $(SANITIZE) $(INCLUDES) \
	-D_GNU_SOURCE -DTESSERA_TEST=1 -idirafter /usr/share/include -ffp-contract=off
FUZZ_CFLAGS := -std=gnu11 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	$(INCLUDES) -D_GNU_SOURCE -DTESSERA_TEST=1 -idirafter /usr/share/include

-include platform/build.mk libos/build.mk tensor/build.mk tensor/cuda/build.mk tensor/train/build.mk \
	images/build.mk images/default-model/build.mk apps/build.mk hypercall/build.mk ci/build.mk

flags_for = $(CFLAGS_$(1))

$(BUILD)/guest/platform/%.o: platform/%.c
	@mkdir -p $(@D)
	$(call say,guest $@)
	$(Q)$(CC) $(GUEST_CFLAGS) $(PLATFORM_CFLAGS) $(call flags_for,$<) -MMD -MP -c $< -o $@
$(BUILD)/guest/libos/%.o: libos/%.c
	@mkdir -p $(@D)
	$(call say,guest $@)
	$(Q)$(CC) $(GUEST_CFLAGS) $(LIBOS_CFLAGS) $(call flags_for,$<) -MMD -MP -c $< -o $@
$(BUILD)/guest/tensor/%.o: tensor/%.c
	@mkdir -p $(@D)
	$(call say,guest $@)
	$(Q)$(CC) $(GUEST_CFLAGS) $(TENSOR_CFLAGS) $(call flags_for,$<) -MMD -MP -c $< -o $@
$(BUILD)/guest/apps/%.o: apps/%.c
	@mkdir -p $(@D)
	$(call say,guest $@)
	$(Q)$(CC) $(GUEST_CFLAGS) $(LIBOS_CFLAGS) $(call flags_for,$<) -MMD -MP -c $< -o $@
$(BUILD)/guest/hypercall/%.o: hypercall/%.c
	@mkdir -p $(@D)
	$(call say,guest $@)
	$(Q)$(CC) $(GUEST_CFLAGS) $(LIBOS_CFLAGS) $(call flags_for,$<) -MMD -MP -c $< -o $@
$(BUILD)/guest/%.o: %.asm
	@mkdir -p $(@D)
	$(call say,nasm $@)
	$(Q)$(NASM) -f elf64 -MD $(@:.o=.d) -MT $@ $< -o $@

$(BUILD)/host/%.o: %.c
	@mkdir -p $(@D)
	$(call say,host $@)
	$(Q)$(CC) $(HOST_CFLAGS) $(call flags_for,$<) -MMD -MP -c $< -o $@
$(BUILD)/asan/%.o: %.c
	@mkdir -p $(@D)
	$(call say,test $@)
	$(Q)$(CC) $(TEST_CFLAGS) $(call flags_for,$<) -MMD -MP -c $< -o $@
$(BUILD)/fuzzobj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,x $@)
	$(Q)$(CLANG) $(subst -fsanitize=fuzzer$(comma),-fsanitize=fuzzer-no-link$(comma),$(FUZZ_CFLAGS)) $(call flags_for,$<) -MMD -MP -c $< -o $@
comma := ,

# A test or fuzzer names what it links in comment lines: `// Links: a.c b.c`, `// Libs: -lfoo`.
links_of = $(shell sed -n 's|^// Links: *||p' $(1))
libs_of = $(shell sed -n 's|^// Libs: *||p' $(1))
sources_of = $(subst @tensord, $(tensord_tested_c) ,$(subst @tensor , $(tensor_c) ,$(subst @cuda , $(cuda_c) ,$(call links_of,$(1)) )))
.SECONDEXPANSION:
# addprefix, not patsubst: make would put the stem into a % here.
$(BUILD)/tests/%: $(BUILD)/asan/%.o $$(addprefix $(BUILD)/asan/,$$(addsuffix .o,$$(basename $$(call sources_of,$$*.c)))) $$(call base_of,asan,$$*)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $(SANITIZE) $^ -o $@ -lcmocka $(call libs_of,$*.c) $(if $(findstring @tensor,$(call links_of,$*.c)),$(HOST_LIBS)) -lm -lpthread
$(BUILD)/fuzz/%: $(BUILD)/fuzzobj/%.o $$(addprefix $(BUILD)/fuzzobj/,$$(addsuffix .o,$$(basename $$(call sources_of,$$*.c)))) $$(call base_of,fuzzobj,$$*)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CLANG) -fsanitize=fuzzer,address,undefined $^ -o $@ $(call libs_of,$*.c) $(if $(findstring @tensor,$(call links_of,$*.c)),$(HOST_LIBS)) -lm -lpthread
# A fuzzer's function with a main that runs files through it once, of the unit tests' objects.
$(BUILD)/replay/%: $(BUILD)/asan/%.o $(BUILD)/asan/ci/tools/replay.o $$(addprefix $(BUILD)/asan/,$$(addsuffix .o,$$(basename $$(call sources_of,$$*.c)))) $$(call base_of,asan,$$*)
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CC) $(SANITIZE) $^ -o $@ $(call libs_of,$*.c) $(if $(findstring @tensor,$(call links_of,$*.c)),$(HOST_LIBS)) -lm -lpthread
%.run: %
	timeout 300 $<
.PRECIOUS: $(BUILD)/guest/%.o $(BUILD)/host/%.o $(BUILD)/asan/%.o $(BUILD)/fuzzobj/%.o $(BUILD)/tests/% $(BUILD)/fuzz/% $(BUILD)/replay/%

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- programs and entry points -------------------------------------------------------------
$(BUILD)/bin/bootclock: ci/tools/bootclock.c
	@mkdir -p $(@D)
	$(CC) $(HOST_CFLAGS) $< -o $@

all: images programs
images: $(BUILD)/images/$(APP).elf $(BUILD)/images/$(APP).efi
programs: $(BUILD)/bin/bootclock $(host_programs)
# What the tests boot.
test-images: $(addprefix $(BUILD)/images/,llm.elf llm.esp.img selftest.elf boottest.elf channel.elf)

# Installs what is missing before the build, so that it works on a fresh machine. The sub-make
# starts after that because this Makefile asks the compiler for its paths.
run:
	@ci/setup
	@mkdir -p $(BUILD)
	@echo '==> Building (the log is in $(BUILD)/build.log)'
	@$(MAKE) -j$$(nproc) --no-print-directory $(BUILD)/images/llm.elf $(BUILD)/bin/bootclock $(if $(VERBOSE),,>$(BUILD)/build.log 2>&1 || { tail -n 30 $(BUILD)/build.log; exit 1; })
	@images/run.sh

test:
	@ci/setup test
	@ci/test.sh
# Every unit test compiled and linked, none run: after a change of what tests link.
tests:
	@ci/test.sh build

lint:
	@ci/setup test
	@ci/lint.sh

fuzz:
	@ci/setup test
	@ci/fuzz.sh

bench: bench-boot bench-engine bench-gemm
bench-boot:
	@ci/setup test
	@ci/bench-boot.sh
bench-run:
	@ci/setup test
	@ci/bench-run.sh
bench-engine:
	@ci/setup test
	@$(MAKE) --no-print-directory $(BUILD)/bin/tessera
	@ci/bench-engine.sh
bench-channel:
	@ci/setup test
	@ci/bench-channel.sh
compare-llama:
	@ci/setup test
	@ci/compare-llama.sh
bench-offload:
	@ci/setup test
	@ci/bench-offload.sh
bench-snapshot:
	@ci/setup test
	@ci/bench-snapshot.sh
bench-call:
	@ci/setup test
	@ci/bench-call.sh
bench-gemm:
	@ci/setup test
	@$(MAKE) --no-print-directory $(BUILD)/bench/gemm
	@$(BUILD)/bench/gemm
bench-cuda:
	@$(MAKE) --no-print-directory $(BUILD)/bench/cuda
	@$(BUILD)/bench/cuda $(or $(MODEL),images/default-model/tessera-demo.gguf) $(ARGS)

clean:
	rm -rf $(BUILD)

help:
	@sed -n 's/^#: //p' Makefile

#: make                     builds the images (build/images) and the programs (build/bin)
#: make run                 boots the default model's VM and streams an answer; stays until Ctrl-C
#:   MODEL=path.gguf          another model          PROMPT="text"   what to ask
#:   PORT=8080                port on this machine   ONCE=1          end after the answer
#:   MEMORY=64 CPUS=2         the guest's MB, CPUs   MACHINE=q35     q35, pc or microvm
#:   ACCEL=auto               auto, kvm or tcg
#: make test                runs all tests; ends with `N passed, N failed`
#: make image APP=llm       builds one image; FORMAT=pvh|uefi, MODEL=x.gguf LINK=1 links a model in
#: make default-model       trains the default model again (about an hour on two cores)
#: make tests             only builds the unit tests, to see that all still do
#: make bench-boot          time from QEMU's start to the first answer, beside a Linux guest
#: make bench-run           time of `tessera run` beyond QEMU's own, and what memory a guest adds
#:   ROUNDS=7 MANY=32         rounds, guests at once
#: make bench-engine        the engine beside llama.cpp, from the same files, and the machine's limits
#:   SIZES=110m,1b TYPES=f16,q8_0,q4_0,q4_k_m,q6_k THREADS=1,2 REPEAT=5 MODELS=dir   (~20 minutes)
#: make bench-channel       tensors between host and guests without copying, beside memcpy
#:   REPEAT=5 COUNT=1024      runs, MB
#: make compare-llama       every architecture and weight type beside llama.cpp, number by number
#: make bench-call          round trip of an empty tensor call beside the floor of the same device
#:   ROUNDS=10 CALLS=2000     rounds, calls a round
#: make bench-offload       guests whose tokens the host computes: speed, a fleet of 8, memory of 32
#:   PARTS=speed,fleet,memory  SPEED=110m-q4_0,1b-q8_0 THREADS=1,2 FLEET=1b-q8_0   (~20 minutes)
#: make bench-snapshot      starts from a boot and from a saved ready state, to the first answer
#:   RUNS=9 MODELS=110m-q4_0  of each, besides the demonstration model (~10 minutes)
#: make bench-gemm          matrix products beside oneDNN and OpenBLAS
#: make bench-cuda          the CUDA executor beside the CPU executor; needs a GPU (MODEL=, ARGS=)
#: make fuzz                runs every fuzzer for a short time (FUZZ_SECONDS=60 each)
#: make lint                format, warnings, layer rule, shell scripts
#: make clean               removes build/


.PHONY: compare-llama all images programs test-images run test tests lint fuzz bench bench-boot bench-call bench-channel bench-cuda bench-offload bench-run bench-engine bench-gemm bench-snapshot clean help
