// mandel.c: the Mandelbrot set in fixed point, so that every machine draws the same picture.
#include "mix.h"
#include "out.h"

enum {
    ONE = 1 << 20, // 1.0
    COLUMNS = 60,
    ROWS = 21,
    LIMIT = 400
};

static unsigned escape_time(long long x0, long long y0)
{
    long long x = 0, y = 0;
    unsigned time = 0;

    for (; time < LIMIT; time++) {
        long long xx = x * x / ONE;
        long long yy = y * y / ONE;

        if (xx + yy > 4 * ONE)
            break;
        y = 2 * x * y / ONE + y0;
        x = xx - yy + x0;
    }
    return time;
}

static char shade(unsigned time)
{
    static const char shades[] = " .:-=+*%#";

    if (time == LIMIT)
        return '@';
    return shades[time / 2 < sizeof(shades) - 2 ? time / 2 : sizeof(shades) - 2];
}

u64 show_mandel(void)
{
    u64 sum = 0;

    out_text("mandelbrot in fixed point\n");
    for (int row = 0; row < ROWS; row++) {
        // Trailing blanks are kept back, so that the report has none.
        unsigned blanks = 11;

        for (int column = 0; column < COLUMNS; column++) {
            // From -2.1 to 0.8 across and from -1.2 to 1.2 down.
            long long x = -21LL * ONE / 10 + 29LL * ONE / 10 * column / (COLUMNS - 1);
            long long y = -12LL * ONE / 10 + 24LL * ONE / 10 * row / (ROWS - 1);
            unsigned time = escape_time(x, y);
            char c = shade(time);

            sum = mix(sum, time);
            if (c == ' ') {
                blanks++;
                continue;
            }
            for (; blanks > 0; blanks--)
                out_char(' ');
            out_char(c);
        }
        out_char('\n');
    }
    return sum;
}
