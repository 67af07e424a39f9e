// motto.c: a line of text laid down by module-level assembly.
#include "out.h"

__asm__(".pushsection .rodata.motto, \"a\", %progbits\n"
        ".globl motto_text\n"
        ".hidden motto_text\n"
        "motto_text: .asciz \"Many modules, one program; many machines, one answer.\"\n"
        "motto_end:\n"
        ".globl motto_length\n"
        ".hidden motto_length\n"
        ".p2align 3\n"
        "motto_length: .quad motto_end - motto_text - 1\n"
        ".popsection\n");

extern const char motto_text[] __attribute__((visibility("hidden")));
extern const u64 motto_length __attribute__((visibility("hidden")));

u64 show_motto(void)
{
    out_format("motto      %s\n", motto_text);
    return motto_length;
}
