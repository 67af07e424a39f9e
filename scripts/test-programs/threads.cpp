// Evaluates Jsonnet in several threads; what is wrong with a program is an exception within.
extern "C" {
#include "libjsonnet.h"
}

#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static thread_local std::string said;

static void evaluate(const std::string &text) {
  JsonnetVm *vm = jsonnet_make();
  int error;
  char *result = jsonnet_evaluate_snippet(vm, "snippet", text.c_str(), &error);
  said = result;
  jsonnet_realloc(vm, result, 0);
  jsonnet_destroy(vm);
  if (error)
    throw std::runtime_error(said);
}

int main() {
  bool good[4] = {};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++)
    threads.emplace_back([&good, i] {
      evaluate("std.foldl(function(a, b) a + b, std.range(1, 100), " + std::to_string(i) + ")");
      bool right = said == std::to_string(5050 + i) + "\n";
      try {
        evaluate("error 'on purpose'");
      } catch (const std::runtime_error &e) {
        good[i] = right && std::string(e.what()).find("on purpose") != std::string::npos;
      }
    });
  for (auto &thread : threads)
    thread.join();
  for (bool one : good)
    if (!one)
      return 1;
  std::puts(said.empty() ? "good" : "not thread-local");
}
