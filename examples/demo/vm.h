// vm.h: a stack machine with a dozen instructions, and the programs written for it.
#ifndef VM_H
#define VM_H

#include <stddef.h>

#include "demo.h"

enum opcode {
    HALT,   // the top of the stack is the answer
    PUSH,   // PUSH n: put n on the stack
    DROP,   // forget the top
    PICK,   // PICK n: copy the n-th entry from the top, which is the 0th
    SWAP,   // exchange the two on top
    ADD,    // the rest replace the two on top by one
    SUB,
    MUL,
    DIV,
    MOD,
    JUMP,   // JUMP n: go on at n
    JUMP_IF // JUMP_IF n: take the top; go on at n unless it is zero
};

struct program {
    const char *title;
    const unsigned char *code;
    size_t length;
    u64 input;
};

extern const struct program programs[];
extern const size_t program_count;

struct vm_result {
    int ok; // 0: the program did something that it may not do
    u64 value;
    unsigned steps;
};

struct vm_result vm_run(const struct program *program);

#endif
