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
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/IR/ModuleSummaryIndex.h"
#include "llvm/LTO/LTOBackend.h"

/// Each function below stands for one of LLVM's, and gets that as `Next`; null
/// where it could not be found.
namespace backlto::seams {

using ErrsFn = llvm::raw_fd_ostream &();
llvm::raw_fd_ostream &errs(ErrsFn *Next);

using IndexOrError = llvm::Expected<std::unique_ptr<llvm::ModuleSummaryIndex>>;
using ReadIndexFn = IndexOrError(llvm::StringRef, bool);
IndexOrError readIndex(ReadIndexFn *Next, llvm::StringRef Path, bool IgnoreEmpty);

using ModuleMap = llvm::MapVector<llvm::StringRef, llvm::BitcodeModule>;
using ThinBackendFn = llvm::Error(
    const llvm::lto::Config &, unsigned, llvm::AddStreamFn, llvm::Module &,
    const llvm::ModuleSummaryIndex &, const llvm::FunctionImporter::ImportMapTy &,
    const llvm::GVSummaryMapTy &, ModuleMap *, bool, llvm::AddStreamFn,
    const std::vector<uint8_t> &);
llvm::Error thinBackend(ThinBackendFn *Next, const llvm::lto::Config &C,
                        unsigned Task, llvm::AddStreamFn AddStream,
                        llvm::Module &M,
                        const llvm::ModuleSummaryIndex &CombinedIndex,
                        const llvm::FunctionImporter::ImportMapTy &ImportList,
                        const llvm::GVSummaryMapTy &DefinedGlobals,
                        ModuleMap *Map, bool CodeGenOnly,
                        llvm::AddStreamFn IRAddStream,
                        const std::vector<uint8_t> &CmdArgs);

} // namespace backlto::seams

#endif
