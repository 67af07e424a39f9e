#include "words.h"

int count(const std::string &text) { return split(text).size(); }
