#include "words.h"

#include <iostream>

int main(int argc, char **argv) {
  std::string text;
  for (int i = 1; i < argc; i++)
    text += std::string(" ") + argv[i];
  std::cout << count(text) << " words\n";
}
