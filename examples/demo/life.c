// life.c: Conway's game of life on an 8x8 torus that fits in one 64-bit word.
#include "out.h"

enum { SNAPSHOTS = 5, GENERATIONS = 8 };

// Rows wrap by turning the word, columns by turning every byte of it.
static u64 down(u64 board)
{
    return board << 8 | board >> 56;
}

static u64 up(u64 board)
{
    return board >> 8 | board << 56;
}

static u64 right(u64 board)
{
    return (board & 0x7f7f7f7f7f7f7f7f) << 1 | (board >> 7 & 0x0101010101010101);
}

static u64 left(u64 board)
{
    return (board >> 1 & 0x7f7f7f7f7f7f7f7f) | (board & 0x0101010101010101) << 7;
}

static u64 next_generation(u64 board)
{
    const u64 neighbours[8] = {
        left(board),       right(board),     up(board),         down(board),
        left(up(board)),   right(up(board)), left(down(board)), right(down(board)),
    };
    u64 ones = 0, twos = 0, fours = 0;

    // 64 counters at once, each in one bit of three words; 8 wraps to 0, which
    // is as dead as 4.
    for (unsigned i = 0; i < 8; i++) {
        u64 carry = ones & neighbours[i];
        ones ^= neighbours[i];
        fours ^= twos & carry;
        twos ^= carry;
    }
    return twos & ~fours & (ones | board);
}

u64 show_life(void)
{
    const u64 glider = 0x0000000000070402; // .O. / ..O / OOO
    u64 snapshots[SNAPSHOTS];
    u64 board = glider;

    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        snapshots[i] = board;
        for (unsigned generation = 0; generation < GENERATIONS; generation++)
            board = next_generation(board);
    }

    out_text("life       a glider, every 8 generations, until it is back where it began\n");
    for (unsigned row = 0; row < 8; row++) {
        out_text("          ");
        for (unsigned i = 0; i < SNAPSHOTS; i++) {
            out_text("  ");
            for (unsigned column = 0; column < 8; column++)
                out_char(snapshots[i] >> (8 * row + column) & 1 ? 'O' : '.');
        }
        out_char('\n');
    }
    return snapshots[SNAPSHOTS - 1];
}
