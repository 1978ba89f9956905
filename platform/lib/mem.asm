; SPDX-License-Identifier: Apache-2.0
; SPDX-FileCopyrightText: The Tessera authors
;
; memcpy, memmove, memset, memcmp for the whole guest, instead of the C library's. Never `rep
; movs/stos`: an emulator runs those a byte at a time, 100 times slower. Copies go by 8-byte
; registers, which emulation does 2.7 times faster than by SSE and hardware about as fast once it
; is the memory that limits; fills go by SSE. Uses xmm0, xmm1 and xmm3; interrupt stubs save them.

section .text.memcpy exec
bits 64

global memcpy:function
global memmove:function
global memset:function
global memcmp:function

; rdi = to, rsi = from, rdx = bytes; returns rax = to. Below 128 bytes everything is loaded before
; anything is stored where it matters, so that the short paths serve memmove too.
align 32
memmove:
    mov rax, rdi
    sub rax, rsi
    cmp rax, rdx            ; unsigned: to lies inside [from, from + bytes)
    mov rax, rdi
    jb backward
memcpy:
    mov rax, rdi
    cmp rdx, 16
    jb short_copy
    cmp rdx, 32
    ja .more
    movups xmm0, [rsi]
    movups xmm1, [rsi + rdx - 16]
    movups [rdi], xmm0
    movups [rdi + rdx - 16], xmm1
    ret
.more:
    ; The last 16 bytes are loaded first (a forward move may overwrite them) and stored last.
    movups xmm3, [rsi + rdx - 16]
    lea r11, [rdi + rdx - 16]
    sub rdx, 64
    jb .tail
align 16
.loop:
    mov rcx, [rsi]
    mov r8, [rsi + 8]
    mov r9, [rsi + 16]
    mov r10, [rsi + 24]
    mov [rdi], rcx
    mov [rdi + 8], r8
    mov [rdi + 16], r9
    mov [rdi + 24], r10
    mov rcx, [rsi + 32]
    mov r8, [rsi + 40]
    mov r9, [rsi + 48]
    mov r10, [rsi + 56]
    mov [rdi + 32], rcx
    mov [rdi + 40], r8
    mov [rdi + 48], r9
    mov [rdi + 56], r10
    add rsi, 64
    add rdi, 64
    sub rdx, 64
    jae .loop
.tail:
    add rdx, 64             ; 0..63 left
    cmp rdx, 16
    jb .last
.sixteen:
    mov rcx, [rsi]
    mov r8, [rsi + 8]
    mov [rdi], rcx
    mov [rdi + 8], r8
    add rsi, 16
    add rdi, 16
    sub rdx, 16
    cmp rdx, 16
    jae .sixteen
.last:
    movups [r11], xmm3
    ret

short_copy:
    cmp edx, 8
    jb .below8
    mov rcx, [rsi]
    mov r8, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + rdx - 8], r8
    ret
.below8:
    cmp edx, 4
    jb .below4
    mov ecx, [rsi]
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
    ret
.below4:
    test edx, edx
    jz .done
    movzx ecx, byte [rsi]
    movzx r8d, byte [rsi + rdx - 1]
    cmp edx, 3
    jne .two
    movzx r9d, byte [rsi + 1]
    mov [rdi + 1], r9b
.two:
    mov [rdi], cl
    mov [rdi + rdx - 1], r8b
.done:
    ret

; Overlapping, to above from: from the end down. The first 16 bytes are loaded first, stored last.
align 16
backward:
    cmp rdx, 16
    jb short_copy
    movups xmm3, [rsi]
    lea rsi, [rsi + rdx]
    lea r8, [rdi + rdx]
.down:
    cmp rdx, 32
    jbe .sixteen
    mov rcx, [rsi - 8]
    mov r9, [rsi - 16]
    mov r10, [rsi - 24]
    mov r11, [rsi - 32]
    mov [r8 - 8], rcx
    mov [r8 - 16], r9
    mov [r8 - 24], r10
    mov [r8 - 32], r11
    sub rsi, 32
    sub r8, 32
    sub rdx, 32
    jmp .down
.sixteen:
    cmp rdx, 16
    jbe .first
    mov rcx, [rsi - 8]
    mov r9, [rsi - 16]
    mov [r8 - 8], rcx
    mov [r8 - 16], r9
.first:
    movups [rdi], xmm3
    ret

; rdi = to, esi = value, rdx = bytes.
align 16
memset:
    mov rax, rdi
    movzx esi, sil
    mov rcx, 0x0101010101010101
    imul rcx, rsi
    cmp rdx, 16
    jb .short
    movq xmm0, rcx
    punpcklqdq xmm0, xmm0
    lea r8, [rdi + rdx - 16]
    sub rdx, 64
    jb .tail
.loop:
    movups [rdi], xmm0
    movups [rdi + 16], xmm0
    movups [rdi + 32], xmm0
    movups [rdi + 48], xmm0
    add rdi, 64
    sub rdx, 64
    jae .loop
.tail:
    add rdx, 64
    jmp .check
.sixteen:
    movups [rdi], xmm0
    add rdi, 16
    sub rdx, 16
.check:
    cmp rdx, 16
    jae .sixteen
    movups [r8], xmm0
    ret
.short:
    cmp edx, 8
    jb .below8
    mov [rdi], rcx
    mov [rdi + rdx - 8], rcx
    ret
.below8:
    cmp edx, 4
    jb .below4
    mov [rdi], ecx
    mov [rdi + rdx - 4], ecx
    ret
.below4:
    test edx, edx
    jz .done
    mov [rdi], cl
    mov [rdi + rdx - 1], cl
    shr edx, 1
    mov [rdi + rdx], cl
.done:
    ret

; rdi, rsi, rdx: eight bytes at a time, then the differing ones in memory order.
align 16
memcmp:
    cmp rdx, 8
    jb .bytes
.loop:
    mov rcx, [rdi]
    mov r8, [rsi]
    cmp rcx, r8
    jne .differ
    add rdi, 8
    add rsi, 8
    sub rdx, 8
    cmp rdx, 8
    jae .loop
.bytes:
    test edx, edx
    jz .equal
    movzx eax, byte [rdi]
    movzx ecx, byte [rsi]
    sub eax, ecx
    jnz .done
    inc rdi
    inc rsi
    dec edx
    jmp .bytes
.equal:
    xor eax, eax
.done:
    ret
.differ:
    bswap rcx
    bswap r8
    xor eax, eax
    cmp rcx, r8
    setb al
    neg eax
    or eax, 1
    ret
