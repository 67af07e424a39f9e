#include "words.h"

#include <stdio.h>

int main(int argc, char **argv) {
  int words = 0;
  for (int i = 1; i < argc; i++)
    words += count(argv[i]);
  printf("%d words\n", words);
}
