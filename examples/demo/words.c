// words.c: counts the words of a rhyme with the hash table.
#include "mix.h"
#include "out.h"
#include "table.h"

static const char rhyme[] =
    "a module went to see a linker "
    "the linker was a careful thinker "
    "it read a summary of the whole "
    "and gave each module one small role "
    "each module took a thread and ran "
    "the linker joined them by the plan "
    "a call that crossed from file to file "
    "was now no call and made them smile";

u64 show_words(void)
{
    struct table table = {.used = 0};
    const struct entry *top = NULL;
    u64 total = 0;
    u64 sum = 0;

    for (const char *at = rhyme; *at != '\0';) {
        size_t length = 0;
        while (at[length] != ' ' && at[length] != '\0')
            length++;

        struct entry *entry = table_entry(&table, at, length);
        if (entry == NULL)
            return 0;
        entry->count++;
        total++;
        at += length;
        if (*at == ' ')
            at++;
    }

    // Ties go to the word that comes first in the alphabet.
    for (size_t i = 0; i < TABLE_SLOTS; i++) {
        const struct entry *entry = &table.slots[i];
        if (entry->word == NULL)
            continue;
        sum = mix(sum, entry->count << 32 | i);
        if (top == NULL || entry->count > top->count
            || (entry->count == top->count && entry_compare(entry, top) < 0))
            top = entry;
    }

    out_format("words      %llu in the rhyme, %llu of them different; most often \"", total,
               (u64)table.used);
    for (size_t i = 0; i < top->length; i++)
        out_char(top->word[i]);
    out_format("\", %llu times\n", top->count);
    return sum;
}
