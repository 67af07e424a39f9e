#include "words.h"

int count(const char *text) {
  int words = 0;
  for (char before = ' '; *text; before = *text++)
    words += is_blank(before) && !is_blank(*text);
  return words;
}
