// table.h: a hash table from words to counts.
#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>

#include "demo.h"

struct entry {
    const char *word; // not terminated; a null pointer marks a free slot
    size_t length;
    u64 count;
};

enum { TABLE_SLOTS = 128 };

struct table {
    struct entry slots[TABLE_SLOTS];
    size_t used;
};

// The entry of a word, made on first sight; a null pointer when the table is full.
struct entry *table_entry(struct table *table, const char *word, size_t length);

// Alphabetical order of two words, as memcmp tells it.
int entry_compare(const struct entry *left, const struct entry *right);

#endif
