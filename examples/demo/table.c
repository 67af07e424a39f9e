// table.c: open addressing with linear probing; small enough to be imported by its user.
#include "table.h"

#include "mem.h"
#include "mix.h"

int entry_compare(const struct entry *left, const struct entry *right)
{
    size_t common = left->length < right->length ? left->length : right->length;
    int order = memcmp(left->word, right->word, common);

    if (order != 0)
        return order;
    return (left->length > right->length) - (left->length < right->length);
}

struct entry *table_entry(struct table *table, const char *word, size_t length)
{
    struct entry wanted = {word, length, 0};
    u64 slot = length;

    for (size_t i = 0; i < length; i++)
        slot = mix(slot, (unsigned char)word[i]);
    for (;; slot++) {
        struct entry *entry = &table->slots[slot % TABLE_SLOTS];

        if (entry->word == NULL) {
            // One slot stays free, so that every search ends.
            if (table->used == TABLE_SLOTS - 1)
                return NULL;
            table->used++;
            *entry = wanted;
            return entry;
        }
        if (entry_compare(entry, &wanted) == 0)
            return entry;
    }
}
