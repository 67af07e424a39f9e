//===- Internal.h - Shared by the shims, never seen by Rust ---------------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef BACKLTO_INTERNAL_H
#define BACKLTO_INTERNAL_H

#include "BackltoShims.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBufferRef.h"
#include "llvm/Support/raw_ostream.h"
#include <exception>
#include <string>

namespace clang {
class CompilerInvocation;
class DiagnosticsEngine;
} // namespace clang

namespace backlto {

inline llvm::StringRef toRef(BackltoSlice S) { return {S.Ptr, S.Len}; }

inline llvm::MemoryBufferRef toRef(const BackltoBuffer &B) {
  return {toRef(B.Bytes), toRef(B.Name)};
}

/// A Rust sink with its context.
struct Sink {
  BackltoSink Function;
  void *Ctx;
  void operator()(llvm::StringRef Text) const {
    Function(Ctx, Text.data(), Text.size());
  }
};

/// Hands the reason of `E` to `Out`.
inline BackltoStatus fail(const Sink &Out, llvm::Error E) {
  Out(llvm::toString(std::move(E)));
  return BackltoStatusError;
}

/// Remembers that LLVM stopped in the middle of something in this process:
/// locks may be held for ever, and memory may be spoilt.
void noteCrash();

/// The text of the last fatal error on this thread, in memory of its own: after
/// a crash nothing may be allocated.
llvm::StringRef fatalText();
void forgetFatalText();

/// Runs `Act`. An exception of C++ becomes an error for `Out`: none may reach
/// Rust.
template <typename Fn> BackltoStatus guarded(const Sink &Out, Fn Act) {
  try {
    return Act();
  } catch (const std::exception &E) {
    Out(E.what());
  } catch (...) {
    Out("an exception of an unknown kind");
  }
  return BackltoStatusError;
}

/// The same for what returns a value and has nobody to tell: `Otherwise` stands
/// for an exception.
template <typename T, typename Fn> T guarded(T Otherwise, Fn Act) {
  try {
    return Act();
  } catch (...) {
    return Otherwise;
  }
}

/// Runs `Read`, and turns a crash of LLVM's reader on damaged bytes into an
/// error for `Out`.
template <typename Fn> BackltoStatus contained(const Sink &Out, Fn Read) {
  BackltoStatus Status = BackltoStatusError;
  // Not on the stack: after a crash its destructor, which frees, must not run.
  auto *Recovery = new llvm::CrashRecoveryContext;
  if (Recovery->RunSafely([&] { Status = guarded(Out, Read); })) {
    delete Recovery;
    return Status;
  }
  noteCrash();
  Out("LLVM crashed while it read this");
  return BackltoStatusCrash;
}

/// LLVM's standard error, seen from inside a job: writes go to the job's own
/// messages, while terminal questions (colours, width) are still answered for
/// file descriptor 2, as clang's are.
class JobErrs : public llvm::raw_fd_ostream {
  std::string &Text;
  void write_impl(const char *Ptr, size_t Size) override {
    Text.append(Ptr, Size);
    inc_pos(Size);
  }

public:
  explicit JobErrs(std::string &Text)
      : raw_fd_ostream(2, /*shouldClose=*/false, /*unbuffered=*/true),
        Text(Text) {}

  /// Whether anything has been said of the job so far, by LLVM or by clang, whose
  /// messages go to the same text.
  bool hasSpoken() const { return !Text.empty(); }
};

/// The job that this thread compiles; the seams look here.
struct ActiveJob {
  const BackltoCompileRequest &Request;
  JobErrs &Errs;
  /// What LLVM had printed past the seams when the job began.
  uint64_t PrintedBefore;
  /// Why LLVM gave up, when clang drops that on the floor or only prints it.
  std::string Failure;
  /// The CPU time that this thread spent in LLVM's ThinLTO backend.
  uint64_t BackendNanoseconds = 0;
  /// The part of the backend's time that was spent in showing the module.
  uint64_t ShowNanoseconds = 0;
  /// The caller had the object already, once it had seen the imported code.
  bool Stopped = false;

  explicit ActiveJob(const BackltoCompileRequest &Request, JobErrs &Errs);
  ~ActiveJob();
  /// Whether LLVM has printed since the job began what no job got, of this job or of
  /// one beside it. Such a message cannot be repeated.
  bool hasPrinted() const;
  /// Null outside a job.
  static ActiveJob *current();
};

} // namespace backlto

/// The C handle; also what Backend.cpp reads.
struct BackltoInvocation;
namespace backlto {
const clang::CompilerInvocation &base(const BackltoInvocation &);
/// Says to `Diags` what cc1 has to say of the command line.
void repeatMessages(const BackltoInvocation &, clang::DiagnosticsEngine &Diags);
} // namespace backlto

#endif
