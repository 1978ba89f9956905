; SPDX-License-Identifier: Apache-2.0
; SPDX-FileCopyrightText: The Tessera authors
;
; The smallest possible PVH guest: writes one byte to COM1 and halts. What it takes from QEMU's start
; to that byte is the floor that no guest can go below. Source: Xen docs/misc/pvh.pandoc.
bits 32
section .note.pvh note alloc noexec nowrite align=4
    dd 4, 4, 18                 ; name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY
    db "Xen", 0
    dd start
section .text
global start
start:
    mov dx, 0x3f8
    mov al, '!'
    out dx, al
.halt:
    cli
    hlt
    jmp .halt
