#include "words.h"

int is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }
