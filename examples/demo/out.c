// out.c: a small printf; its tiny helpers are what other modules like to import.
#include "out.h"

#include <stdarg.h>
#include <stddef.h>

#include "sys.h"

static char buffer[512];
static size_t filled;
static u64 digest = 0xcbf29ce484222325; // FNV-1a, 64 bits

void out_flush(void)
{
    sys_print(buffer, filled);
    filled = 0;
}

void out_char(char c)
{
    // Plain char is signed on two of the four machines.
    digest = (digest ^ (unsigned char)c) * 0x100000001b3;
    if (filled == sizeof(buffer))
        out_flush();
    buffer[filled++] = c;
}

void out_text(const char *text)
{
    while (*text != '\0')
        out_char(*text++);
}

u64 out_digest(void)
{
    return digest;
}

struct layout {
    int width;
    int left;
    char fill;
};

static void out_field(const char *text, size_t length, struct layout layout)
{
    size_t width = (size_t)layout.width;
    size_t padding = width > length ? width - length : 0;

    if (!layout.left)
        while (padding > 0) {
            out_char(layout.fill);
            padding--;
        }
    for (size_t i = 0; i < length; i++)
        out_char(text[i]);
    while (padding-- > 0)
        out_char(' ');
}

static void out_number(u64 value, unsigned base, struct layout layout)
{
    char digits[24];
    size_t at = sizeof(digits);

    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    out_field(digits + at, sizeof(digits) - at, layout);
}

void out_format(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            out_char(*format);
            continue;
        }
        format++;

        struct layout layout = {.fill = ' '};
        for (; *format == '-' || *format == '0'; format++) {
            if (*format == '-')
                layout.left = 1;
            else
                layout.fill = '0';
        }
        for (; *format >= '0' && *format <= '9'; format++)
            layout.width = layout.width * 10 + (*format - '0');
        int wide = format[0] == 'l' && format[1] == 'l';
        if (wide)
            format += 2;

        switch (*format) {
        case 's': {
            const char *text = va_arg(args, const char *);
            size_t length = 0;
            while (text[length] != '\0')
                length++;
            out_field(text, length, layout);
            break;
        }
        case 'u':
        case 'x': {
            u64 value = wide ? va_arg(args, u64) : va_arg(args, unsigned);
            out_number(value, *format == 'x' ? 16 : 10, layout);
            break;
        }
        default:
            out_char(*format);
            if (*format == '\0')
                format--;
        }
    }
    va_end(args);
}
