//===- SeamsLoaded.cpp - Clang's calls, by the dynamic loader -------------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// libclang-cpp and libLLVM are separate libraries, so clang's calls to the
// three functions below are bound at load time, and a definition in the
// program comes first. When the program that embeds us does not export them,
// clang's calls go straight to LLVM: same bytes, files opened by name.
//
//===----------------------------------------------------------------------===//

#include "Seams.h"
#include <dlfcn.h>

using namespace llvm;
using namespace backlto;

/// LLVM's definition of the function that `Ours` overrides.
template <typename Fn> static Fn *nextDefinition(Fn *Ours) {
  // The dynamic symbol table knows the mangled name, so none is written here.
  Dl_info Info;
  if (!dladdr(reinterpret_cast<void *>(Ours), &Info) || !Info.dli_sname)
    return nullptr;
  return reinterpret_cast<Fn *>(dlsym(RTLD_NEXT, Info.dli_sname));
}

static seams::ErrsFn *nextErrs() {
  static auto *Next = nextDefinition<seams::ErrsFn>(llvm::errs);
  return Next;
}

raw_fd_ostream &llvm::errs() { return seams::errs(nextErrs()); }

/// LLVM's errs(), also where clang calls it because ours does not come first.
static seams::ErrsFn *errsOfLLVM() {
  if (seams::ErrsFn *Next = nextErrs())
    return Next;
  auto *First = reinterpret_cast<seams::ErrsFn *>(
      dlsym(RTLD_DEFAULT, "_ZN4llvm4errsEv"));
  auto *Ours = static_cast<seams::ErrsFn *>(llvm::errs);
  return First == Ours ? nullptr : First;
}

// A libLLVM that was linked with -Bsymbolic-functions, as Debian's is, calls its own.
uint64_t seams::printedByLLVM() {
  static seams::ErrsFn *Errs = errsOfLLVM();
  return Errs ? Errs().tell() : 0;
}

seams::IndexOrError llvm::getModuleSummaryIndexForFile(StringRef Path,
                                                       bool IgnoreEmpty) {
  static auto *Next =
      nextDefinition<seams::ReadIndexFn>(llvm::getModuleSummaryIndexForFile);
  return seams::readIndex(Next, Path, IgnoreEmpty);
}

static seams::ThinBackendFn *nextThinBackend() {
  static auto *Next = nextDefinition<seams::ThinBackendFn>(lto::thinBackend);
  return Next;
}

Error lto::thinBackend(BACKLTO_THIN_BACKEND_FIRST, BACKLTO_THIN_BACKEND_REST)
BACKLTO_THIN_BACKEND_BODY(nextThinBackend())

bool BackltoSeamsActive() {
  // The symbol as libclang sees it: the first definition in load order.
  Dl_info Info;
  auto *Ours = reinterpret_cast<void *>(static_cast<seams::ErrsFn *>(llvm::errs));
  return dladdr(Ours, &Info) && Info.dli_sname &&
         dlsym(RTLD_DEFAULT, Info.dli_sname) == Ours;
}
