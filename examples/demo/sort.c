// sort.c: heap sort through a function pointer, which importing turns into a direct call.
#include "sort.h"

static void swap(unsigned char *left, unsigned char *right)
{
    unsigned char kept = *left;

    *left = *right;
    *right = kept;
}

static void sift_down(unsigned char *heap, size_t at, size_t count, sort_before before)
{
    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= count)
            return;
        if (child + 1 < count && before(heap[child], heap[child + 1]))
            child++;
        if (!before(heap[at], heap[child]))
            return;
        swap(&heap[at], &heap[child]);
        at = child;
    }
}

void sort(unsigned char *items, size_t count, sort_before before)
{
    for (size_t at = count / 2; at-- > 0;)
        sift_down(items, at, count, before);
    while (count > 1) {
        count--;
        swap(&items[0], &items[count]);
        sift_down(items, 0, count, before);
    }
}
