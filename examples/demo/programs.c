// programs.c: constant tables of bytecode that the thin link may show to other modules.
#include "vm.h"

// How many steps of "halve it, or triple it and add one" lead to 1?
static const unsigned char collatz[] = {
    /*  0 */ PUSH, 0,     // n count
    /*  2 */ PICK, 1,     // n count n
    /*  4 */ PUSH, 1,
    /*  6 */ SUB, 0,
    /*  8 */ JUMP_IF, 12, // n is not 1 yet
    /* 10 */ HALT, 0,
    /* 12 */ PUSH, 1,
    /* 14 */ ADD, 0,      // n count+1
    /* 16 */ SWAP, 0,     // count n
    /* 18 */ PICK, 0,
    /* 20 */ PUSH, 2,
    /* 22 */ MOD, 0,
    /* 24 */ JUMP_IF, 34, // odd
    /* 26 */ PUSH, 2,
    /* 28 */ DIV, 0,
    /* 30 */ SWAP, 0,
    /* 32 */ JUMP, 2,
    /* 34 */ PUSH, 3,
    /* 36 */ MUL, 0,
    /* 38 */ PUSH, 1,
    /* 40 */ ADD, 0,
    /* 42 */ SWAP, 0,
    /* 44 */ JUMP, 2,
};

static const unsigned char factorial[] = {
    /*  0 */ PUSH, 1,     // n product
    /*  2 */ PICK, 1,
    /*  4 */ JUMP_IF, 8,  // n is not 0 yet
    /*  6 */ HALT, 0,
    /*  8 */ PICK, 1,
    /* 10 */ MUL, 0,      // n product*n
    /* 12 */ SWAP, 0,
    /* 14 */ PUSH, 1,
    /* 16 */ SUB, 0,
    /* 18 */ SWAP, 0,     // n-1 product*n
    /* 20 */ JUMP, 2,
};

// Euclid's algorithm against 252.
static const unsigned char common_divisor[] = {
    /*  0 */ PUSH, 252,   // a b
    /*  2 */ PICK, 0,
    /*  4 */ JUMP_IF, 10, // b is not 0 yet
    /*  6 */ DROP, 0,
    /*  8 */ HALT, 0,
    /* 10 */ SWAP, 0,     // b a
    /* 12 */ PICK, 1,     // b a b
    /* 14 */ MOD, 0,      // b a%b
    /* 16 */ JUMP, 2,
};

// The largest r with r * r no more than n, by counting up.
static const unsigned char square_root[] = {
    /*  0 */ PUSH, 0,     // n r
    /*  2 */ PUSH, 1,
    /*  4 */ ADD, 0,      // n r+1
    /*  6 */ PICK, 1,
    /*  8 */ PICK, 1,
    /* 10 */ PICK, 0,
    /* 12 */ MUL, 0,      // n r+1 n (r+1)*(r+1)
    /* 14 */ DIV, 0,      // 0 once the square is too large
    /* 16 */ JUMP_IF, 2,
    /* 18 */ PUSH, 1,
    /* 20 */ SUB, 0,
    /* 22 */ HALT, 0,
};

#define PROGRAM(title, code, input) {title, code, sizeof(code), input}

const struct program programs[] = {
    PROGRAM("Collatz steps from 27", collatz, 27),
    PROGRAM("20 factorial", factorial, 20),
    PROGRAM("common divisor of 252, 105", common_divisor, 105),
    PROGRAM("square root of 2000000", square_root, 2000000),
};

const size_t program_count = COUNT_OF(programs);
