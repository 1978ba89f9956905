# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Build settings of the platform layer.

# Copies and fills of known size: never `rep movs/stos`, which emulators run a byte at a time.
GUEST_CFLAGS += -mmemcpy-strategy=unrolled_loop:128:noalign,libcall:-1:noalign \
	-mmemset-strategy=unrolled_loop:128:noalign,libcall:-1:noalign

# The memory functions must not be compiled into calls of themselves, and the code that runs before
# relocation must not get jump tables or constants that hold addresses.
CFLAGS_platform/boot/early.c := -fno-jump-tables
CFLAGS_platform/boot/pvh.c := -fno-jump-tables
CFLAGS_platform/boot/pvh_start.c := -fno-jump-tables
CFLAGS_platform/boot/ranges.c := -fno-jump-tables
CFLAGS_platform/boot/frames.c := -fno-jump-tables
CFLAGS_platform/boot/cmdline.c := -fno-jump-tables
CFLAGS_platform/boot/kaslr.c := -fno-jump-tables
CFLAGS_platform/paging/table.c := -fno-jump-tables
# Runs before anything could set up a stack canary.
CFLAGS_apps/boottest/main.c := -fno-stack-protector -mno-red-zone
