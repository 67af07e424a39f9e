// Packs and unpacks its standard input at a few levels.
#include "zstd.h"

#include <stdio.h>
#include <string.h>

static char text[1 << 22], packed[1 << 22], again[1 << 22];

int main(void) {
  size_t size = fread(text, 1, sizeof text, stdin);
  for (int level = 1; level <= 13; level += 3) {
    size_t small = ZSTD_compress(packed, sizeof packed, text, size, level);
    if (ZSTD_isError(small) || small >= size ||
        ZSTD_decompress(again, sizeof again, packed, small) != size ||
        memcmp(text, again, size) != 0)
      return 1;
  }
  puts("same");
}
