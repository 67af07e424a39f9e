//===- Seams.h - The three calls of clang that come to us -----------------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef BACKLTO_SEAMS_H
#define BACKLTO_SEAMS_H

#include "Internal.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/IR/ModuleSummaryIndex.h"
#include "llvm/LTO/LTOBackend.h"

/// Each function below stands for one of LLVM's, and gets that as `Next`; null
/// where it could not be found.
namespace backlto::seams {

using ErrsFn = llvm::raw_fd_ostream &();
llvm::raw_fd_ostream &errs(ErrsFn *Next);

/// How many bytes LLVM itself has printed that did not come by errs() above.
uint64_t printedByLLVM();

using IndexOrError = llvm::Expected<std::unique_ptr<llvm::ModuleSummaryIndex>>;
using ReadIndexFn = IndexOrError(llvm::StringRef, bool);
IndexOrError readIndex(ReadIndexFn *Next, llvm::StringRef Path, bool IgnoreEmpty);

using ModuleMap = llvm::MapVector<llvm::StringRef, llvm::BitcodeModule>;
using ThinBackendFn = decltype(llvm::lto::thinBackend);
/// The part of thinBackend's parameters that we look at. `Forward` calls LLVM's own
/// with all of them, but for the modules.
llvm::Error
thinBackend(const llvm::lto::Config &C,
            const llvm::FunctionImporter::ImportMapTy &ImportList,
            ModuleMap *Map,
            llvm::function_ref<llvm::Error(ModuleMap *)> Forward);

} // namespace backlto::seams

// All parameters of lto::thinBackend, which more come to from release to release.
#define BACKLTO_THIN_BACKEND_FIRST                                             \
  const llvm::lto::Config &C, unsigned Task, llvm::AddStreamFn AddStream,      \
      llvm::Module &M, const llvm::ModuleSummaryIndex &CombinedIndex,          \
      const llvm::FunctionImporter::ImportMapTy &ImportList,                   \
      const llvm::GVSummaryMapTy &DefinedGlobals,                              \
      backlto::seams::ModuleMap *Map
#if LLVM_VERSION_MAJOR < 20
#define BACKLTO_THIN_BACKEND_REST const std::vector<uint8_t> &CmdArgs
#define BACKLTO_THIN_BACKEND_REST_NAMES CmdArgs
#elif LLVM_VERSION_MAJOR < 23
#define BACKLTO_THIN_BACKEND_REST                                              \
  bool CodeGenOnly, llvm::AddStreamFn IRAddStream,                             \
      const std::vector<uint8_t> &CmdArgs
#define BACKLTO_THIN_BACKEND_REST_NAMES CodeGenOnly, IRAddStream, CmdArgs
#else
#define BACKLTO_THIN_BACKEND_REST                                              \
  bool CodeGenOnly, llvm::ArrayRef<llvm::StringRef> BitcodeLibFuncs,           \
      llvm::AddStreamFn IRAddStream, const std::vector<uint8_t> &CmdArgs
#define BACKLTO_THIN_BACKEND_REST_NAMES                                        \
  CodeGenOnly, BitcodeLibFuncs, IRAddStream, CmdArgs
#endif
/// The body of what stands for thinBackend, of which LLVM's own is `Next`.
#define BACKLTO_THIN_BACKEND_BODY(Next)                                        \
  {                                                                            \
    return backlto::seams::thinBackend(                                        \
        C, ImportList, Map,                                                    \
        [&](backlto::seams::ModuleMap *Modules) -> llvm::Error {               \
          if (!(Next))                                                         \
            return llvm::createStringError(                                    \
                "cannot find LLVM's ThinLTO backend");                         \
          return (Next)(C, Task, AddStream, M, CombinedIndex, ImportList,      \
                        DefinedGlobals, Modules,                               \
                        BACKLTO_THIN_BACKEND_REST_NAMES);                      \
        });                                                                    \
  }

#endif
