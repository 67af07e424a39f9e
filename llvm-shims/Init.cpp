//===- Init.cpp - Process-wide LLVM state ---------------------------------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Internal.h"
#include "llvm-c/Core.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/TargetSelect.h"
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>

using namespace llvm;
using namespace backlto;

const char *BackltoLoadedLLVMVersion() {
  // Asked of the library at run time: the headers only know what we were
  // compiled against.
  static const std::string Version = [] {
    unsigned Major, Minor, Patch;
    LLVMGetVersion(&Major, &Minor, &Patch);
    return std::to_string(Major) + "." + std::to_string(Minor) + "." +
           std::to_string(Patch);
  }();
  return Version.c_str();
}

static std::atomic<bool> Crashed = false;

void backlto::noteCrash() { Crashed = true; }
bool BackltoHasCrashed() { return Crashed; }

/// Longer texts are cut: some hold a whole instruction.
static thread_local char FatalText[2048];
static thread_local size_t FatalLength;

StringRef backlto::fatalText() { return {FatalText, FatalLength}; }
void backlto::forgetFatalText() { FatalLength = 0; }

/// `report_fatal_error` ends the process unless its handler does not return.
/// Where a crash would be recovered from, it therefore leaves the same way;
/// elsewhere LLVM's own ending (message, exit status) is the right one.
static void onFatalError(void *, const char *Reason, bool) {
  CrashRecoveryContext *Recovery = CrashRecoveryContext::GetCurrent();
  if (!Recovery) {
    fprintf(stderr, "LLVM ERROR: %s\n", Reason);
    return;
  }
  FatalLength = strnlen(Reason, sizeof(FatalText));
  memcpy(FatalText, Reason, FatalLength);
  Recovery->HandleExit(BackltoStatusFatal);
}

void BackltoInitialize() {
#ifdef BACKLTO_TARGETS
  // A static build has the targets that build.rs was asked for: it lists them.
#define BACKLTO_TARGET(Name)                                                   \
  LLVMInitialize##Name##TargetInfo();                                          \
  LLVMInitialize##Name##Target();                                              \
  LLVMInitialize##Name##TargetMC();                                            \
  LLVMInitialize##Name##AsmPrinter();
  BACKLTO_TARGETS
#undef BACKLTO_TARGET
#define BACKLTO_TARGET(Name) LLVMInitialize##Name##AsmParser();
  BACKLTO_ASM_PARSERS
#undef BACKLTO_TARGET
#else
  InitializeAllTargets();
  InitializeAllTargetMCs();
  InitializeAllAsmPrinters();
  InitializeAllAsmParsers();
#endif
}

void BackltoContainCrashes() {
  CrashRecoveryContext::Enable();
  // A thread that has used up its stack has none left for a handler. Those of
  // LLVM do not ask for the alternate one, which the engine's threads have.
  for (int Signal : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP}) {
    struct sigaction Action;
    if (sigaction(Signal, nullptr, &Action) == 0) {
      Action.sa_flags |= SA_ONSTACK;
      sigaction(Signal, &Action, nullptr);
    }
  }
  install_fatal_error_handler(onFatalError);
  install_bad_alloc_error_handler(onFatalError);
}

bool BackltoLLVMOptionsGiven() {
  for (const auto &Entry : cl::getRegisteredOptions())
    if (Entry.second->getNumOccurrences() != 0)
      return true;
  return false;
}

BackltoStatus BackltoSetLLVMOptions(const char *const *Args, size_t Count,
                                    BackltoSink Out, void *Ctx) {
  return guarded(Sink{Out, Ctx}, [&] {
    // The name is clang's (ExecuteCompilerInvocation), so that the message is.
    SmallVector<const char *, 16> Argv = {"clang (LLVM option parsing)"};
    Argv.append(Args, Args + Count);
    std::string Text;
    raw_string_ostream OS(Text);
    if (cl::ParseCommandLineOptions(Argv.size(), Argv.data(), "", &OS))
      return BackltoStatusOk;
    Sink{Out, Ctx}(Text);
    return BackltoStatusError;
  });
}
