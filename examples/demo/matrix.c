// matrix.c: Fibonacci numbers by fast powers of a 2x2 matrix, passed and returned by value.
#include "out.h"

struct matrix {
    u64 cell[2][2];
};

static struct matrix times(struct matrix a, struct matrix b)
{
    struct matrix product = {{{0}}};

    for (int row = 0; row < 2; row++)
        for (int column = 0; column < 2; column++)
            for (int k = 0; k < 2; k++)
                product.cell[row][column] += a.cell[row][k] * b.cell[k][column];
    return product;
}

static struct matrix power(struct matrix base, unsigned exponent)
{
    struct matrix result = {{{1, 0}, {0, 1}}};

    for (; exponent > 0; exponent /= 2) {
        if (exponent % 2 == 1)
            result = times(result, base);
        base = times(base, base);
    }
    return result;
}

u64 show_matrix(void)
{
    static const struct matrix step = {{{1, 1}, {1, 0}}};
    u64 fibonacci = power(step, 90).cell[0][1];

    out_format("matrix     the 90th Fibonacci number is %llu\n", fibonacci);
    return fibonacci;
}
