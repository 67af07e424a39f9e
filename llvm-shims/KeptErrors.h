//===- KeptErrors.h - Errors that LLVM would end the process for ----------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef BACKLTO_KEPT_ERRORS_H
#define BACKLTO_KEPT_ERRORS_H

#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/DiagnosticPrinter.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/raw_ostream.h"
#include <string>

namespace backlto {

/// Keeps the errors that are reported to a context. LLVMContext::diagnose calls
/// exit(1) after one when nobody listens: so for module assembly that does not
/// parse (ModuleSymbolTable).
class KeptErrors {
  std::string Text;

  static void keep(const llvm::DiagnosticInfo *Info, void *Self) {
    if (Info->getSeverity() != llvm::DS_Error)
      return;
    auto &Text = static_cast<KeptErrors *>(Self)->Text;
    llvm::raw_string_ostream OS(Text);
    llvm::DiagnosticPrinterRawOStream Printer(OS);
    if (!Text.empty())
      OS << '\n';
    Info->print(Printer);
  }

public:
  explicit KeptErrors(llvm::LLVMContext &Context) {
    Context.setDiagnosticHandlerCallBack(keep, this);
  }
  KeptErrors(const KeptErrors &) = delete;

  /// Fails with what has been reported, if anything has.
  llvm::Error take() {
    if (Text.empty())
      return llvm::Error::success();
    return llvm::createStringError(std::exchange(Text, {}));
  }
};

} // namespace backlto

#endif
