// deck.c: shuffles a deck of cards, deals a hand, and sorts both by its own rules.
#include "mix.h"
#include "out.h"
#include "rng.h"
#include "sort.h"

enum { CARDS = 52, HAND = 5 };

static int lower_card(unsigned char left, unsigned char right)
{
    return left < right;
}

// By rank first, aces high, then by suit.
static int better_card(unsigned char left, unsigned char right)
{
    unsigned left_rank = (left + 12u) % 13;
    unsigned right_rank = (right + 12u) % 13;

    return left_rank != right_rank ? left_rank > right_rank : left > right;
}

static void print_card(unsigned char card)
{
    out_char(' ');
    out_char("A23456789TJQK"[card % 13]);
    out_char("CDHS"[card / 13]);
}

u64 show_deck(void)
{
    unsigned char deck[CARDS];
    u64 sum = 0;

    for (unsigned i = 0; i < CARDS; i++)
        deck[i] = (unsigned char)i;
    for (unsigned left = CARDS; left > 1; left--) {
        u64 pick = rng_below(left);
        unsigned char kept = deck[left - 1];

        deck[left - 1] = deck[pick];
        deck[pick] = kept;
    }

    sort(deck, HAND, better_card);
    out_text("deck       shuffled; a hand of five:");
    for (unsigned i = 0; i < HAND; i++) {
        print_card(deck[i]);
        sum = mix(sum, deck[i]);
    }

    sort(deck, CARDS, lower_card);
    for (unsigned i = 0; i < CARDS; i++)
        if (deck[i] != i)
            sum = 0;
    out_text(sum != 0 ? "; and sorted back\n" : "; and a card is lost\n");
    return sum;
}
