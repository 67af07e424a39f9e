//===- SeamsWrapped.cpp - Clang's calls, by the linker's --wrap -----------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// In a static build, clang's calls are bound by the linker, and two definitions
// of one function would be an error. With `--wrap=NAME`, what refers to NAME from
// another object file gets `__wrap_NAME`, and `__real_NAME` is LLVM's own. LLVM's
// calls to errs() come here too then, so that what it prints is its job's as well.
//
// A program that embeds us is linked by somebody else, perhaps without `--wrap`.
// Hence the weak names: such a program links, and clang's calls go straight to
// LLVM, as they do where the loader binds them.
//
//===----------------------------------------------------------------------===//

#include "Seams.h"

using namespace llvm;
using namespace backlto;

// The mangled names are from build.rs, which tells the linker the same.
#define WRAP(Name) __asm__("__wrap_" Name)
#define REAL(Name) __asm__("__real_" Name) __attribute__((weak))

namespace backlto::seams {
ErrsFn wrapErrs WRAP(BACKLTO_ERRS);
ErrsFn realErrs REAL(BACKLTO_ERRS);
ReadIndexFn wrapReadIndex WRAP(BACKLTO_READ_INDEX);
ReadIndexFn realReadIndex REAL(BACKLTO_READ_INDEX);
ThinBackendFn wrapThinBackend WRAP(BACKLTO_THIN_BACKEND);
ThinBackendFn realThinBackend REAL(BACKLTO_THIN_BACKEND);
} // namespace backlto::seams

raw_fd_ostream &seams::wrapErrs() { return errs(realErrs); }

uint64_t seams::printedByLLVM() {
  return BackltoSeamsActive() ? 0 : llvm::errs().tell();
}

seams::IndexOrError seams::wrapReadIndex(StringRef Path, bool IgnoreEmpty) {
  return readIndex(realReadIndex, Path, IgnoreEmpty);
}

Error seams::wrapThinBackend(BACKLTO_THIN_BACKEND_FIRST,
                             BACKLTO_THIN_BACKEND_REST)
BACKLTO_THIN_BACKEND_BODY(realThinBackend)

/// Whether what this file calls by LLVM's name `Theirs` is `Ours`: so it is for
/// clang too. The comparison is for the linker to decide, not for the compiler.
template <typename Fn> static bool isBound(Fn *Theirs, Fn *Ours) {
  Fn *volatile Linked = Theirs;
  return Linked == Ours;
}

bool BackltoSeamsActive() {
  return isBound<seams::ErrsFn>(llvm::errs, seams::wrapErrs) &&
         isBound<seams::ReadIndexFn>(getModuleSummaryIndexForFile,
                                     seams::wrapReadIndex) &&
         isBound<seams::ThinBackendFn>(lto::thinBackend, seams::wrapThinBackend);
}
