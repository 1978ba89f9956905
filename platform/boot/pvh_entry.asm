; SPDX-License-Identifier: Apache-2.0
; SPDX-FileCopyrightText: The Tessera authors
;
; PVH entry: 32-bit protected mode, paging off, ebx = hvm_start_info. Goes to long mode on an
; identity map of the first 4 GB and calls pf_early_pvh. Runs where it was loaded, unrelocated:
; every address is computed. Source: Xen docs/misc/pvh.pandoc, Intel SDM 3A 9.8.5.

global pf_pvh_entry
global pf_uefi_entry
global pf_boot_gdt
extern pf_early_pvh
extern pf_early_uefi
extern pf_early_identity
extern pf_early_tables
extern pf_boot_stack_top
extern pf_final_cr3
extern pf_start
extern __ehdr_start

START_MAGIC equ 0x336ec578
EFER        equ 0xc0000080

section .text.boot exec
bits 32
pf_pvh_entry:
    cli
    cld
    rdtsc
    mov edi, eax
    mov esi, edx
    cmp dword [ebx], START_MAGIC
    jne near bad_magic
    ; The start info's first word is the only memory known to be writable here: borrow it as a
    ; stack to learn where we run, then put the magic number back.
    lea esp, [ebx + 4]
    call .here
.here:
    pop ebp
    mov dword [ebx], START_MAGIC
    lea ebp, [ebp + (table - .here)]
    mov esp, [ebp + 0]
    lea esp, [esp + ebp + 0]

    push ebx
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb near no_long_mode
    mov eax, 0x80000001
    cpuid
    bt edx, 29
    jnc near no_long_mode
    and edx, 1 << 20            ; NX offered
    push edx

    ; pf_early_tables: PML4, PDPT, four PDs of 2 MB pages.
    mov ecx, [ebp + 4]
    lea ecx, [ecx + ebp + 4]    ; ecx = PML4
    lea eax, [ecx + 0x1000 + 3]
    mov [ecx], eax
    lea eax, [ecx + 0x2000 + 3]
    lea edx, [ecx + 0x1000]
    mov ebx, 4
.pdpt:
    mov [edx], eax
    add eax, 0x1000
    add edx, 8
    dec ebx
    jnz .pdpt
    lea edx, [ecx + 0x2000]
    mov eax, 0x83
    mov ebx, 2048 / 4
.pd:
    mov [edx], eax
    lea eax, [eax + 0x200000]
    mov [edx + 8], eax
    lea eax, [eax + 0x200000]
    mov [edx + 16], eax
    lea eax, [eax + 0x200000]
    mov [edx + 24], eax
    lea eax, [eax + 0x200000]
    add edx, 32
    dec ebx
    jnz .pd

    mov eax, cr4
    or eax, (1 << 5) | (1 << 9) | (1 << 10) ; PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov cr3, ecx
    pop ebx                     ; NX
    mov ecx, EFER
    rdmsr
    shr ebx, 20 - 11
    or eax, ebx
    or eax, 1 << 8              ; LME
    wrmsr
    pop ebx                     ; start info
    mov eax, cr0
    and eax, ~((1 << 2) | (1 << 3) | (1 << 29) | (1 << 30)) ; EM, TS, NW, CD
    or eax, 0x80010023          ; PG, WP, NE, MP, PE
    mov cr0, eax

    mov eax, [ebp + 8]
    lea eax, [eax + ebp + 8]    ; pf_boot_gdt
    sub esp, 8
    mov word [esp], 23
    mov [esp + 2], eax
    lgdt [esp]
    mov eax, [ebp + 12]
    lea eax, [eax + ebp + 12]   ; long_mode
    push dword 8
    push eax
    retf

bad_magic:
no_long_mode:
    ; "PVH?" on COM1, enough to be seen; there is nothing else to be done this early.
    mov dx, 0x3f8
    mov al, 'P'
    out dx, al
    mov al, 'V'
    out dx, al
    mov al, 'H'
    out dx, al
    mov al, '?'
    out dx, al
    mov al, 10
    out dx, al
.halt:
    hlt
    jmp .halt

align 4
table:
    dd pf_boot_stack_top - $
    dd pf_early_tables - $
    dd pf_boot_gdt - $
    dd long_mode - $

bits 64
long_mode:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    lea rsp, [rel pf_boot_stack_top]
    mov eax, edi
    shl rsi, 32
    or rsi, rax
    mov edi, ebx
    xor ebp, ebp
    call pf_early_pvh
    jmp go_high

; UEFI hands over in long mode: rdi = struct pf_boot_info, interrupts and boot services off.
pf_uefi_entry:
    cli
    cld
    lea rsp, [rel pf_boot_stack_top]
    xor ebp, ebp
    push rdi
    push rdi
    call pf_early_identity
    mov ecx, EFER
    rdmsr
    or eax, 1 << 11             ; NXE: every UEFI machine has it
    wrmsr
    mov rax, cr4
    or rax, (1 << 9) | (1 << 10)
    and rax, ~(1 << 7)          ; PGE off and on: drop the firmware's global entries
    mov cr4, rax
    lea rax, [rel pf_early_tables]
    mov cr3, rax
    pop rdi
    pop rdi
    call pf_early_uefi

; rax = virtual base. The early PML4 now has the kernel's final entry too, so the jump is safe
; before the final tables, which have no identity map, are loaded.
go_high:
    lea rcx, [rel .high]
    lea rdx, [rel __ehdr_start]
    sub rcx, rdx
    add rcx, rax
    jmp rcx
.high:
    mov rax, [rel pf_final_cr3]
    mov cr3, rax
    lea rsp, [rel pf_boot_stack_top]
    xor ebp, ebp
    call pf_start
    ud2

section .rodata.boot
align 8
pf_boot_gdt:
    dq 0
    dq 0x00af9b000000ffff       ; 0x08: code, 64 bit
    dq 0x00cf93000000ffff       ; 0x10: data
