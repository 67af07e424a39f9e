// vm.c: the stack machine itself: one loop, one switch, and no trust in its programs.
#include "vm.h"

#include "mix.h"
#include "out.h"

enum { STACK_SIZE = 32, STEP_LIMIT = 100000 };

struct vm {
    u64 stack[STACK_SIZE];
    size_t height;
    int broken;
};

static void push(struct vm *vm, u64 value)
{
    if (vm->height == STACK_SIZE)
        vm->broken = 1;
    else
        vm->stack[vm->height++] = value;
}

static u64 pop(struct vm *vm)
{
    if (vm->height == 0) {
        vm->broken = 1;
        return 0;
    }
    return vm->stack[--vm->height];
}

static u64 peek(struct vm *vm, size_t depth)
{
    if (depth >= vm->height) {
        vm->broken = 1;
        return 0;
    }
    return vm->stack[vm->height - 1 - depth];
}

static void arithmetic(struct vm *vm, enum opcode opcode)
{
    u64 right = pop(vm);
    u64 left = pop(vm);

    switch (opcode) {
    case ADD:
        push(vm, left + right);
        break;
    case SUB:
        push(vm, left - right);
        break;
    case MUL:
        push(vm, left * right);
        break;
    default:
        if (right == 0)
            vm->broken = 1;
        else
            push(vm, opcode == DIV ? left / right : left % right);
    }
}

struct vm_result vm_run(const struct program *program)
{
    struct vm vm = {.height = 0};
    struct vm_result result = {0, 0, 0};
    size_t at = 0;

    push(&vm, program->input);
    while (!vm.broken && result.steps++ < STEP_LIMIT) {
        if (at + 1 >= program->length)
            break;
        // Every instruction has an operand byte; most ignore it.
        unsigned char opcode = program->code[at];
        unsigned char operand = program->code[at + 1];
        at += 2;

        switch (opcode) {
        case HALT:
            result.value = pop(&vm);
            result.ok = !vm.broken;
            return result;
        case PUSH:
            push(&vm, operand);
            break;
        case DROP:
            pop(&vm);
            break;
        case PICK:
            push(&vm, peek(&vm, operand));
            break;
        case SWAP: {
            u64 top = pop(&vm);
            u64 below = pop(&vm);
            push(&vm, top);
            push(&vm, below);
            break;
        }
        case ADD:
        case SUB:
        case MUL:
        case DIV:
        case MOD:
            arithmetic(&vm, opcode);
            break;
        case JUMP:
            at = operand;
            break;
        case JUMP_IF:
            if (pop(&vm) != 0)
                at = operand;
            break;
        default:
            vm.broken = 1;
        }
    }
    return result;
}

u64 show_vm(void)
{
    u64 sum = 0;

    for (size_t i = 0; i < program_count; i++) {
        struct vm_result result = vm_run(&programs[i]);

        out_format("%-10s %-26s", i == 0 ? "vm" : "", programs[i].title);
        if (result.ok)
            out_format(" %19llu %6u steps\n", result.value, result.steps);
        else
            out_text(" broke down\n");
        sum = mix(sum, result.ok ? result.value : 0);
    }
    return sum;
}
