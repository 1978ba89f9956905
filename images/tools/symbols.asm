; SPDX-License-Identifier: Apache-2.0
; SPDX-FileCopyrightText: The Tessera authors
;
; The function table as an object: nasm -DSYMBOLS='"file"'.

section .symbols alloc noexec nowrite progbits align=8
    incbin SYMBOLS
