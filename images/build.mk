# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Images: `build/images/APP.elf` (PVH), `APP.efi` (UEFI application), `APP.esp.img` (a disk that
# UEFI firmware boots), `APP.debug` (symbols and lines for gdb and addr2line). Each is linked twice:
# the functions of the first link become the table that crash reports of the second one read.
#
# IMAGE_LAYERS_<app>  what is linked besides apps/<app>, if not all of platform libos tensor hypercall
# IMAGE_LIBS_<app>    archives, if not the default ones

IMAGES := $(BUILD)/images
IMAGE_LAYERS_boottest := platform
IMAGE_LAYERS_channel := platform libos tensor hypercall/channel
IMAGE_ARCHIVES := $(foreach a,jansson pcre2-8 utf8proc fdt,/usr/lib/x86_64-linux-gnu/lib$(a).a)
LIBGCC := $(shell $(CC) -print-libgcc-file-name 2>/dev/null)
HOST_LIBDIR := /usr/lib

IMAGE_LD := ld -pie --no-dynamic-linker -static -z text -z norelro -z max-page-size=4096 \
	-z noexecstack --no-warn-rwx-segments --gc-sections --hash-style=gnu -Bsymbolic --build-id=sha1 \
	-T images/kernel.ld

guest_objs = $(patsubst %,$(BUILD)/guest/%.o,$(basename $(1)))
image_layers = $(or $(IMAGE_LAYERS_$(1)),platform libos tensor hypercall)
has_layer = $(filter $(2),$(call image_layers,$(1)))
image_objs = $(call guest_objs,$(platform_c) $(platform_asm) $(call app_c,$(1)) \
	$(if $(call has_layer,$(1),libos),$(libos_c)) $(if $(call has_layer,$(1),tensor),$(tensor_c)) \
	$(if $(call has_layer,$(1),hypercall),$(hypercall_c)) \
	$(if $(call has_layer,$(1),hypercall/channel),$(channel_guest_c))) \
	$(if $(call has_layer,$(1),libos),$(libos_extra_objs))
image_libs = $(if $(call has_layer,$(1),libos),--start-group $(MUSL_LIB)/libc.a \
	$(or $(IMAGE_LIBS_$(1)),$(IMAGE_ARCHIVES)) $(LIBGCC) --end-group,$(LIBGCC))

app_version = $(shell sed -n 's/^const char app_version\[\] = "\(.*\)";/\1/p' $(call app_c,$(1)) | head -n 1)

# Everything that the second link read is in the image's bill of materials, which stands in the
# section .sbom and beside it as APP.sbom.json.
# 1: image name  2: app  3: more objects
define link_image
	$(call say,image $(IMAGES)/$(1).elf)
	$(Q)$(IMAGE_LD) -o $(IMAGES)/$(1).stage1 $(call image_objs,$(2)) $(3) $(call image_libs,$(2))
	$(Q)$(BUILD)/bin/symtab $(IMAGES)/$(1).stage1 $(IMAGES)/$(1).symbols
	$(Q)$(NASM) -f elf64 -DSYMBOLS='"$(IMAGES)/$(1).symbols"' images/tools/symbols.asm \
		-o $(IMAGES)/$(1).symbols.o
	$(Q)$(IMAGE_LD) -t -t -o $(IMAGES)/$(1).full $(call image_objs,$(2)) $(3) $(IMAGES)/$(1).symbols.o \
		$(call image_libs,$(2)) >$(IMAGES)/$(1).inputs
	$(Q)objcopy --only-keep-debug $(IMAGES)/$(1).full $(IMAGES)/$(1).debug
	$(Q)strip -o $(IMAGES)/$(1).elf $(IMAGES)/$(1).full
	$(Q)images/tools/sbom.sh $(IMAGES)/$(1).sbom.json "tessera-$(2)" "$(call app_version,$(2))" \
		$(IMAGES)/$(1).elf <$(IMAGES)/$(1).inputs
	$(Q)objcopy --add-section .sbom=$(IMAGES)/$(1).sbom.json --set-section-flags .sbom=readonly $(IMAGES)/$(1).elf
	@rm -f $(IMAGES)/$(1).stage1 $(IMAGES)/$(1).full $(IMAGES)/$(1).symbols $(IMAGES)/$(1).symbols.o
	@if readelf -rW $(IMAGES)/$(1).elf | grep -v R_X86_64_RELATIVE | grep -q R_X86_64_; then \
		echo "$(1).elf: a relocation that the boot code does not know" >&2; exit 1; fi
endef

$(BUILD)/bin/symtab: images/tools/symtab.c
	@mkdir -p $(@D)
	$(CC) $(HOST_CFLAGS) $< -o $@

# Objects are never intermediate files to be deleted.
.SECONDARY:
.SECONDEXPANSION:
$(IMAGES)/%.elf: $$(call image_objs,$$*) $(IMAGES)/%.list images/kernel.ld \
		images/tools/symbols.asm images/tools/sbom.sh $(BUILD)/bin/symtab
	$(call link_image,$*,$*,)

# The list of what is linked, touched only when it changes: a file that comes or goes relinks.
.PRECIOUS: $(IMAGES)/%.list
$(IMAGES)/%.list: FORCE
	@mkdir -p $(@D)
	@echo $(call image_objs,$*) $(call image_libs,$*) | cmp -s - $@ || \
		echo $(call image_objs,$*) $(call image_libs,$*) > $@

# ---- a model linked into the image: build/images/APP-linked.elf ------------------------------
# Explicit rules, since `%.elf` would match the name too; remade each time, since MODEL may change.
$(IMAGES)/$(APP)-linked.elf: $(call image_objs,$(APP)) images/kernel.ld images/tools/symbols.asm \
		$(BUILD)/bin/symtab FORCE
	@mkdir -p $(@D)
	@[ -r "$(MODEL)" ] || { echo "LINK=1 needs MODEL=file.gguf (cannot read '$(MODEL)')" >&2; exit 1; }
	ln -sf $(abspath $(MODEL)) $(IMAGES)/boot_linked
	cd $(IMAGES) && ld -r -b binary -z noexecstack boot_linked -o $(APP)-model.o
	objcopy --rename-section .data=.linked,alloc,load,readonly,data,contents \
		--set-section-alignment .linked=4096 \
		--redefine-sym _binary_boot_linked_start=boot_linked_start \
		--redefine-sym _binary_boot_linked_end=boot_linked_end $(IMAGES)/$(APP)-model.o
	$(call link_image,$(APP)-linked,$(APP),$(IMAGES)/$(APP)-model.o)
	@rm -f $(IMAGES)/boot_linked $(IMAGES)/$(APP)-model.o

# ---- UEFI ------------------------------------------------------------------------------------
# The application carries the PVH image as a blob and ends at the same kernel entry.
EFI_CFLAGS := -std=gnu11 -O2 $(WARN) -Wno-conversion -fpic -ffreestanding -fno-stack-protector \
	-fshort-wchar -mno-red-zone -mgeneral-regs-only -fno-strict-aliasing -DGNU_EFI_USE_MS_ABI -Iplatform/include -I. \
	-isystem /usr/include/efi -isystem /usr/include/efi/x86_64
$(BUILD)/efi/%.o: platform/uefi/%.c
	@mkdir -p $(@D)
	$(CC) $(EFI_CFLAGS) -MMD -MP -c $< -o $@
.PRECIOUS: $(BUILD)/efi/%.o
# The kernel is its section .kernel, the bill of materials .sbom; linked twice, since the first link
# tells what the second is made of.
EFI_LD := -nostdlib -shared -Bsymbolic -znocombreloc --no-warn-rwx-segments -z noexecstack \
	-T $(HOST_LIBDIR)/elf_x86_64_efi.lds $(HOST_LIBDIR)/crt0-efi-x86_64.o
$(IMAGES)/%.efi: $(IMAGES)/%.elf $(patsubst platform/uefi/%.c,$(BUILD)/efi/%.o,$(wildcard platform/uefi/*.c))
	cp $< $(IMAGES)/efi_kernel
	cd $(IMAGES) && ld -r -b binary -z noexecstack efi_kernel -o $*.efi.blob.o
	objcopy --rename-section .data=.kernel,alloc,load,readonly,data,contents \
		--set-section-alignment .data=4096 $(IMAGES)/$*.efi.blob.o
	ld $(EFI_LD) $(filter %.o,$^) $(IMAGES)/$*.efi.blob.o -L$(HOST_LIBDIR) -lefi -lgnuefi -t -t \
		-o $(IMAGES)/$*.efi.so >$(IMAGES)/$*.efi.inputs
	grep -hv 'efi.blob.o' $(IMAGES)/$*.inputs $(IMAGES)/$*.efi.inputs | images/tools/sbom.sh \
		$(IMAGES)/$*.efi.sbom.json "tessera-$*" "$(call app_version,$*)" $<
	cp $(IMAGES)/$*.efi.sbom.json $(IMAGES)/efi_sbom
	cd $(IMAGES) && ld -r -b binary -z noexecstack efi_sbom -o $*.efi.sbom.o
	objcopy --rename-section .data=.sbom,alloc,load,readonly,data,contents \
		--set-section-alignment .data=4096 $(IMAGES)/$*.efi.sbom.o
	ld $(EFI_LD) $(filter %.o,$^) $(IMAGES)/$*.efi.blob.o $(IMAGES)/$*.efi.sbom.o -L$(HOST_LIBDIR) \
		-lefi -lgnuefi -o $(IMAGES)/$*.efi.so
	objcopy -j .text -j .sdata -j .data -j .rodata -j .dynamic -j .dynsym -j .rel -j .rela \
		-j .rel.* -j .rela.* -j .reloc -j .kernel -j .sbom --target efi-app-x86_64 --subsystem=10 \
		$(IMAGES)/$*.efi.so $@
	@rm -f $(addprefix $(IMAGES)/,efi_kernel efi_sbom $*.efi.blob.o $*.efi.sbom.o $*.efi.so)

# A FAT disk with the application where firmware looks, and MODEL=, MANIFEST= and CMDLINE= if given.
$(IMAGES)/%.esp.img: $(IMAGES)/%.efi FORCE
	images/tools/esp.sh $@ $< "$(MODEL)" "$(MANIFEST)" "$(CMDLINE)"

# ---- make image APP=… [FORMAT=pvh|uefi] [MODEL=… LINK=1] ---------------------------------------
.PHONY: image FORCE
FORCE:
image: $(IMAGES)/$(APP)$(if $(LINK),-linked)$(if $(filter uefi,$(FORMAT)),.esp.img,.elf)
	@ls -l $^
