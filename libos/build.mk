# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Flags of single files of the libos, and what it adds to the image besides its C files.

# ---- core: memory, strands, system calls ---------------------------------------------------
# Safe in interrupt handlers: no vector registers, no stack protector (FS is the strand's).
CFLAGS_libos/sched/ready.c := -mgeneral-regs-only -fno-stack-protector
# These run while the thread pointer, where the canary lives, changes or is not there yet.
CFLAGS_libos/sched/core.c := -fno-stack-protector
CFLAGS_libos/posix/syscall.c := -fno-stack-protector
CFLAGS_libos/posix/thread.c := -fno-stack-protector
CFLAGS_libos/posix/start.c := -fno-stack-protector
CFLAGS_libos/core/main.c := -fno-stack-protector
libos_extra_objs += $(BUILD)/guest/libos/sched/switch.o

# ---- net: lwIP, llhttp (libos/net/build.mk) ------------------------------------------------
include libos/net/build.mk
