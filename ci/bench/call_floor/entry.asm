; SPDX-License-Identifier: Apache-2.0
; SPDX-FileCopyrightText: The Tessera authors
;
; The bare guest's entry: PVH (32-bit, paging off) to long mode on an identity map of the first 4 GB,
; the upper GB uncached; its interrupt handlers. Source: Xen docs/misc/pvh.pandoc, Intel SDM 3A 9.8.5.

global start
global floor_pages_high
global floor_irq_answer
global floor_irq_order
global floor_irq_spurious
global floor_exception
global floor_lidt
extern floor_main
extern floor_stop

LAPIC_EOI equ 0xfee000b0

section .note.pvh note alloc noexec nowrite align=4
    dd 4, 8, 18                 ; name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY
    db "Xen", 0
    dq start

section .text
bits 32
start:
    cli
    cld
    mov esp, stack_top
    mov dword [pml4], pdpt + 3
    mov eax, floor_pages + 3
    mov edx, pdpt
.pdpt:
    mov [edx], eax
    add eax, 0x1000
    add edx, 8
    cmp edx, pdpt + 4 * 8
    jne .pdpt
    mov edx, floor_pages
    mov eax, 0x83               ; present, writable, 2 MB
.pages:
    cmp eax, 0xc0000000
    jb .cached
    or eax, 0x18                ; PCD, PWT: uncached
.cached:
    mov [edx], eax
    add edx, 8
    add eax, 0x200000
    jnc .pages
    mov eax, cr4
    or eax, 1 << 5              ; PAE
    mov cr4, eax
    mov eax, pml4
    mov cr3, eax
    mov ecx, 0xc0000080         ; EFER
    rdmsr
    or eax, 1 << 8              ; LME
    wrmsr
    mov eax, cr0
    and eax, ~((1 << 29) | (1 << 30))
    or eax, 0x80010001          ; PG, WP, PE
    mov cr0, eax
    lgdt [gdt_pointer]
    jmp 8:long_mode

bits 64
long_mode:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor ebp, ebp
    call floor_main
    ud2

; An interrupt only has to end the halt: what it is about stands in shared memory.
floor_irq_answer:
floor_irq_order:
    push rax
    mov eax, LAPIC_EOI
    mov dword [rax], 0
    pop rax
floor_irq_spurious:
    iretq

floor_exception:
    cli
    mov rdi, [rsp]              ; error code or rip
    mov rsi, [rsp + 8]          ; rip or cs
    and rsp, -16
    call floor_stop
    ud2

floor_lidt:
    lidt [rdi]
    ret

section .rodata
align 8
gdt:
    dq 0
    dq 0x00af9b000000ffff       ; 0x08: code, 64 bit
    dq 0x00cf93000000ffff       ; 0x10: data
gdt_pointer:
    dw 23
    dd gdt

section .bss
align 4096
pml4:
    resb 4096
pdpt:
    resb 4096
floor_pages:
    resb 3 * 4096
floor_pages_high:               ; of 0xc0000000 to 4 GB
    resb 4096
    resb 16384
stack_top:
