// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the parts of the tokenizer share: the vocabulary, the merge loop, the splitters.
#ifndef TENSOR_TEXT_TOKENIZER_PRIVATE_H
#define TENSOR_TEXT_TOKENIZER_PRIVATE_H

#include "tensor/chat.h"
#include "tensor/tokenizer.h"

#include <stdatomic.h>

enum token_kind { // the file's token_type
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN,
    TOKEN_CONTROL,
    TOKEN_USER_DEFINED,
    TOKEN_UNUSED,
    TOKEN_BYTE,
};
enum vocabulary_kind { VOCABULARY_SPM, VOCABULARY_BPE, VOCABULARY_WPM, VOCABULARY_UNIGRAM };

// An array of strings in the GGUF with an open-addressing index by text, made on first use: booting
// a guest must not wait for a hash of 150,000 strings that its first request needs.
struct string_table {
    const uint8_t *data;
    uint32_t *offset; // of each string's length field
    uint32_t count, mask;
    uint64_t seed;
    _Atomic(uint32_t *) slot; // index + 1; 0 = free
};

// SentencePiece's table of replacements, where it stands in the file (charsmap.c).
struct charsmap {
    const uint8_t *array;
    uint32_t units; // 0: the vocabulary has none
    const char *replacement;
    size_t replacement_bytes;
};

// Tokens by their bytes (trie.c).
enum { TRIE_ROOT = 1, TRIE_MAX_BYTES = 1 << 24 }; // a node's number has 24 bits
struct trie_edge {
    uint32_t key; // node << 8 | byte; 0: free
    uint32_t node;
};
struct trie_node {
    int32_t id; // the token that ends here, -1: none
    bool user;  // a user-defined token goes through here
};
struct token_trie {
    struct trie_edge *edge;
    struct trie_node *node;
    uint32_t mask, shift, nodes, node_max;
};

#define TOKENIZER_MAX_ENDS 40
struct pretokenizer;

struct tokenizer {
    enum vocabulary_kind kind;
    struct string_table tokens, merges;
    const uint8_t *scores; // f32 each, unaligned; NULL: all 0
    uint8_t *token_kind;
    int32_t bos, eos, eot, eom, unk, sep;
    bool add_bos, add_eos, add_sep, add_space_prefix, ignore_merges;
    bool marked; // BPE over the characters themselves, with spaces as U+2581: no byte alphabet
    bool lowercase, strip_accents;                     // WPM
    bool collapse_spaces, has_user_defined, has_bytes; // unigram; has_bytes: all 256 byte tokens
    float unknown_score;                               // unigram
    struct charsmap charsmap;                          // unigram
    _Atomic(struct token_trie *) trie;                 // WPM, unigram
    int32_t byte_token[256];                           // "<0x0A>", -1: none
    int32_t end[TOKENIZER_MAX_ENDS];
    uint32_t end_count;
    uint32_t longest; // bytes of the longest token
    // Tokens that are cut out of the text first, the longest first; of each first byte the lengths
    // it can have.
    int32_t *special;
    uint32_t special_count;
    bool special_first[256];
    // White space beside a special token that belongs to it: after each but keep_right, and before
    // strip_left.
    bool strip_right;
    int32_t keep_right[3], strip_left;
    struct pretokenizer *split;
};

// Long loops call this with their counter.
extern void (*tokenizer_pause)(void);
static inline void maybe_pause(size_t i)
{
    if (i % 256 == 255 && tokenizer_pause)
        tokenizer_pause();
}

struct gguf_string string_at(const struct string_table *t, uint32_t i);
// Index of a string with hash `hash_of(pieces)`; -1: none; -2: no memory for the index. Of several
// equal strings the tokens' index gives the last, the merges' index the first.
int64_t token_lookup(const struct tokenizer *t, const char *text, size_t bytes);
int64_t merge_lookup(const struct tokenizer *t, const char *text, size_t left, size_t bytes);
uint64_t text_hash(uint64_t seed, const char *text, size_t bytes);

// ---- what files do not say, known by text (known.c) --------------------------------------------
void known_token(struct tokenizer *t, uint32_t id); // one token, while opening
void known_ends(struct tokenizer *t);               // after all of them and the special ids
void known_blanks(const struct gguf *g, struct tokenizer *t);

static const char space_mark[3] = {'\xe2', '\x96', '\x81'}; // U+2581

const struct token_trie *token_trie(const struct tokenizer *t); // NULL: no memory
void token_trie_free(struct tokenizer *t);
uint32_t trie_step(const struct token_trie *r, uint32_t node, uint8_t byte); // 0: no such text

int charsmap_open(struct charsmap *m, const uint8_t *data, uint64_t bytes); // -EINVAL: not sound
// The longest beginning of the text that has a replacement: *used bytes (0: none) become the
// NUL-terminated *replacement. -EINVAL: the table leads outside itself.
int charsmap_find(const struct charsmap *m, const char *text, size_t bytes, size_t *used,
                  const char **replacement);

// ---- ids going out -----------------------------------------------------------------------------
struct id_sink {
    int32_t *ids;
    size_t max, count;
};
static inline void sink_put(struct id_sink *s, int32_t id)
{
    if (s->count < s->max)
        s->ids[s->count] = id;
    s->count++;
}

// ---- the merge loop (SPM and BPE) --------------------------------------------------------------
struct merge_symbol {
    uint32_t start, bytes; // bytes 0: merged into an earlier one
    int32_t previous, next;
};
struct merge_pair {
    uint64_t order; // rank << 32 | left symbol: the smallest is merged next
    int32_t right;
    uint32_t bytes;
};
struct merge_work {
    struct merge_symbol *symbol;
    struct merge_pair *heap;
    size_t symbol_count, symbol_max, heap_count, heap_max;
};
// How early the two halves text[0, left) and text[left, bytes) merge (smaller first); false: never.
// Sets *failed to a negative errno when it could not find out.
typedef bool (*merge_rank)(const struct tokenizer *t, const char *text, size_t left, size_t bytes,
                           uint32_t *rank, int *failed);
// Cuts text into UTF-8 characters and merges; w->symbol holds the result. 0, -ENOMEM.
int merge_run(struct merge_work *w, const struct tokenizer *t, const char *text, size_t bytes,
              merge_rank rank);
void merge_free(struct merge_work *w);
// Bytes of the valid character that text begins with; 0: broken or cut off.
size_t utf8_character(const char *text, size_t bytes);
size_t utf8_lead_bytes(char lead);                   // 1 for a stray continuation byte
uint32_t utf8_value(const char *text, size_t bytes); // of a valid character of so many bytes

// ---- encoders of plain text --------------------------------------------------------------------
int spm_encode(const struct tokenizer *t, struct merge_work *w, const char *text, size_t bytes,
               bool prefix_space, struct id_sink *out);
int bpe_encode(const struct tokenizer *t, struct merge_work *w, const char *text, size_t bytes,
               struct id_sink *out);

int wpm_encode(const struct tokenizer *t, const char *text, size_t bytes, struct id_sink *out);
int unigram_encode(const struct tokenizer *t, const char *text, size_t bytes, struct id_sink *out);
// The text with U+2581 for each space, and one before it; the caller frees. NULL: no memory.
char *mark_spaces(const char *text, size_t bytes, bool prefix_space, size_t *marked_bytes);

// ---- BPE's splitting ---------------------------------------------------------------------------
// Compiles the named splitter. -ENOTSUP: unknown name. ignore_merges and add_bos get what the name
// implies.
int pretokenizer_open(struct gguf_string name, struct pretokenizer **out, bool *ignore_merges,
                      bool *add_bos);
void pretokenizer_close(struct pretokenizer *p);
// Calls word(ctx, text, bytes) for each piece in order; stops at and returns its first nonzero.
int pretokenizer_run(const struct pretokenizer *p, const char *text, size_t bytes,
                     int (*word)(void *ctx, const char *text, size_t bytes), void *ctx);
// The byte-level alphabet: each byte has a printable character.
uint32_t byte_to_character(uint8_t byte);
int character_to_byte(uint32_t character); // -1: none
size_t put_utf8(uint32_t character, char *out);

// ---- text with parts in which control tokens are letters ---------------------------------------
// As tokenizer_encode; with `parts` (covering the text in order) control tokens are seen only
// inside parts that are not literal, and text merges across the borders of parts.
long tokenizer_encode_parts(const struct tokenizer *t, const char *text, size_t bytes,
                            unsigned flags, const struct chat_part *parts, size_t part_count,
                            int32_t *ids, size_t max);
// Occurrences of special tokens, in order.
struct special_hit {
    size_t start;
    uint32_t bytes;
    int32_t id;
};
int special_find(const struct tokenizer *t, const char *text, size_t bytes, bool control,
                 const struct chat_part *parts, size_t part_count, struct special_hit **out,
                 size_t *count);

#endif
