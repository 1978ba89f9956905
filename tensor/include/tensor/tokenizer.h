// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Text to token ids and back, from the vocabulary in a GGUF. Kinds: SPM ("llama"), byte-level BPE
// ("gpt2") with its pre-tokenizer, BPE over characters ("gemma4"), WordPiece ("bert") and unigram
// ("t5"). Thread-safe after opening.
#ifndef TENSOR_TOKENIZER_H
#define TENSOR_TOKENIZER_H

#include "tensor/gguf.h"

struct tokenizer;

// Keeps pointers into the GGUF. Errors name the key; an unknown model or pre-tokenizer is -ENOTSUP
// and named.
int tokenizer_open(const struct gguf *g, struct tokenizer **out, char *error, size_t error_bytes);
void tokenizer_close(struct tokenizer *t);

enum {
    TOKENIZE_ADD_SPECIAL = 1,   // BOS/EOS, CLS/SEP as the model wants them
    TOKENIZE_PARSE_SPECIAL = 2, // "<|im_start|>" in the text is the token, not its letters
};
// Writes at most `max` ids; returns how many the text has (may exceed max), or a negative errno.
// Text is UTF-8; broken bytes go through byte fallback where the kind has one. WordPiece keeps
// neither case, accents, control characters nor the number of spaces; unigram normalises and has
// U+FFFD for a broken byte. -EINVAL: the file's normalisation table leads outside itself.
long tokenizer_encode(const struct tokenizer *t, const char *text, size_t bytes, unsigned flags,
                      int32_t *ids, size_t max);
// Once, at start: what encoding and decoding call every few hundred steps, so that a long text does
// not keep a cooperative core to itself. NULL: nothing.
void tokenizer_set_pause(void (*pause)(void));
// Bytes of one token as it appears inside text (a single id may be part of a UTF-8 character).
// Special tokens give nothing unless `special`. Returns the length (may exceed max), -EINVAL for a
// bad id.
long tokenizer_piece(const struct tokenizer *t, int32_t id, bool special, char *out, size_t max);
// Whole sequence, without the leading space that encoding put there. Same return rule.
long tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t count, bool special,
                      char *out, size_t max);

// Bytes of the longest token: a text of n bytes has at least n / longest tokens (an SPM text with
// many spaces may have fewer bytes than its marked form; the bound still holds). Not so for
// WordPiece and unigram, where spaces collapse and a whole unknown word is one token.
size_t tokenizer_longest(const struct tokenizer *t);
uint32_t tokenizer_size(const struct tokenizer *t);
int32_t tokenizer_bos(const struct tokenizer *t); // -1: none
int32_t tokenizer_eos(const struct tokenizer *t);
bool tokenizer_adds_bos(const struct tokenizer *t);
// End of generation: EOS, EOT, EOM and all tokens known by text (facts).
bool tokenizer_is_end(const struct tokenizer *t, int32_t id);
bool tokenizer_is_control(const struct tokenizer *t, int32_t id);
int32_t tokenizer_find(const struct tokenizer *t, const char *text); // exact token text, -1: none

// Streams whole UTF-8 only: bytes of a token go in, complete characters come out.
struct utf8_stream {
    char pending[4];
    uint8_t count;
};
// Writes to out (room for at least 3 * (count + 4) bytes: each broken byte becomes U+FFFD) and
// returns the bytes written. flush: what is pending comes out as U+FFFD.
size_t utf8_stream_push(struct utf8_stream *s, const char *bytes, size_t count, bool flush,
                        char *out);

#endif
