//===- BackltoShims.h - What LLVM's C API lacks ---------------------------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Everything that crosses from C++ to Rust is declared here, and only here.
// The contract is in README.md beside this file. `src/llvm/ffi.rs` mirrors
// each declaration.
//
//===----------------------------------------------------------------------===//

#ifndef BACKLTO_SHIMS_H
#define BACKLTO_SHIMS_H

#include <llvm-c/Types.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Borrowed text or bytes; not NUL-terminated.
typedef struct {
  const char *Ptr;
  size_t Len;
} BackltoSlice;

/// A borrowed buffer and the name it is known by.
typedef struct {
  BackltoSlice Name;
  BackltoSlice Bytes;
} BackltoBuffer;

/// Receives text or bytes. `Len` bytes at `Ptr` are borrowed for the call.
typedef void (*BackltoSink)(void *Ctx, const char *Ptr, size_t Len);

/// How a fallible call ended. Anything but Ok comes with text in its sink.
typedef enum : uint32_t {
  BackltoStatusOk = 0,
  /// LLVM or clang reported an error.
  BackltoStatusError = 1,
  /// LLVM raised a fatal error (`report_fatal_error`, out of memory).
  BackltoStatusFatal = 2,
  /// LLVM crashed on a signal; the thread was recovered.
  BackltoStatusCrash = 3,
  /// BackltoImportedFn did not want the object.
  BackltoStatusStopped = 4,
} BackltoStatus;

//===- Process-wide state (Init.cpp) --------------------------------------===//

/// The version of the LLVM loaded at run time, e.g. "22.1.8". Static storage.
const char *BackltoLoadedLLVMVersion(void);

/// Registers every target. Call once, before any other call but the one above.
void BackltoInitialize(void);

/// Installs LLVM's crash recovery and a fatal-error handler, so that either
/// ends a compile with a status instead of ending the process. Call at most
/// once; a host with handlers of its own must not.
void BackltoContainCrashes(void);

/// True once LLVM has stopped in the middle of anything in this process, on a
/// signal, a fatal error or an exception.
bool BackltoHasCrashed(void);

/// True when any LLVM option of the process was given a value by its command
/// line, or by BackltoSetLLVMOptions.
bool BackltoLLVMOptionsGiven(void);

/// Sets the `-mllvm` options `Args`, once in the life of a process: there is no
/// way to undo all that they do. No job may be running. `Sink` gets LLVM's message when an
/// argument is not known.
BackltoStatus BackltoSetLLVMOptions(const char *const *Args, size_t Count,
                                    BackltoSink Sink, void *Ctx);

//===- Command lines (Flags.cpp) ------------------------------------------===//

/// A clang command line, mapped by clang's driver and front end to one
/// reusable compiler invocation. Immutable once made; may be shared by threads.
typedef struct BackltoInvocation BackltoInvocation;

/// Maps the clang command line `Args` (`Args[0]` is the compiler's name, which
/// prefixes driver messages) as if run in `Directory`. `ClangPath` is where
/// that clang is installed. Driver messages go to `Sink`, warnings included.
/// Returns null after an error. Free with BackltoFreeInvocation.
BackltoInvocation *BackltoMapCommandLine(const char *const *Args, size_t Count,
                                         BackltoSlice Directory,
                                         BackltoSlice ClangPath,
                                         BackltoSink Sink, void *Ctx);
void BackltoFreeInvocation(BackltoInvocation *);

/// Each argument of the cc1 command line, in order, one sink call each.
void BackltoInvocationCC1Args(const BackltoInvocation *, BackltoSink, void *);

/// Each `-mllvm` argument that must be in force while a job with this
/// invocation runs, in order, one sink call each.
void BackltoInvocationLLVMOptions(const BackltoInvocation *, BackltoSink,
                                  void *);

/// Whether the object may hold the command line itself, names of files included.
bool BackltoInvocationKeptInObject(const BackltoInvocation *);

/// The target triple, one sink call.
void BackltoInvocationTriple(const BackltoInvocation *, BackltoSink, void *);

//===- Bitcode and summary indexes (Bitcode.cpp) --------------------------===//

/// LLVM's name for the architecture of target triple `Triple` ("x86_64",
/// "aarch64", ...; Thumb counts as "arm"), one sink call.
void BackltoArchName(BackltoSlice Triple, BackltoSink, void *);

/// What a bitcode file says of itself.
typedef struct {
  /// It holds a module with a ThinLTO summary.
  bool HasThinLTO;
  /// The ThinLTO module carries a hash of its own content.
  bool HasHash;
  /// That content still has that hash. False when there is none.
  bool HashMatches;
  uint32_t Hash[5];
} BackltoModuleInfo;

/// Reads the headers of bitcode file `Buffer` into `Info`; its producer (such
/// as "LLVM22.1.8") goes to `Producer`, its target triple to `Triple`, and
/// what is wrong with it to `Error`.
BackltoStatus BackltoReadModuleInfo(const BackltoBuffer *Buffer,
                                    BackltoModuleInfo *Info,
                                    BackltoSink Producer, void *ProducerCtx,
                                    BackltoSink Triple, void *TripleCtx,
                                    BackltoSink Error, void *ErrorCtx);

/// Called for each module that a summary index names: its path and its hash
/// (all zero when it has none).
typedef void (*BackltoModuleVisitor)(void *Ctx, const char *Path, size_t Len,
                                     const uint32_t *Hash);

/// A parsed summary index. Immutable; may be shared by threads.
typedef struct BackltoIndex BackltoIndex;

/// Parses summary index `Buffer`. Null after an error, which goes to `Error`.
/// Free with BackltoFreeIndex.
BackltoIndex *BackltoReadIndex(const BackltoBuffer *Buffer, BackltoSink Error,
                               void *ErrorCtx);
void BackltoFreeIndex(BackltoIndex *);
bool BackltoIndexSkipsModule(const BackltoIndex *);
/// How many IR instructions the functions of its module, and those to import,
/// had when they were summarised.
uint64_t BackltoIndexInstructions(const BackltoIndex *);
void BackltoIndexModules(const BackltoIndex *, BackltoModuleVisitor, void *);

/// A module of a link: the path that the link has for it, and its hash.
typedef struct {
  BackltoSlice Path;
  uint32_t Hash[5];
} BackltoNamedModule;

/// Puts right what LLVM has written into summary index `Index` for those of
/// `Modules` that have a path which is not ASCII (Names.cpp). The whole index
/// goes to `Repaired` in one call, if anything had to be.
BackltoStatus BackltoRepairIndex(const BackltoBuffer *Index,
                                 const BackltoNamedModule *Modules, size_t Count,
                                 BackltoSink Repaired, void *RepairedCtx,
                                 BackltoSink Error, void *ErrorCtx);

/// All that summary index `Index` says, but for the names of modules, of which only
/// the order counts; to `Rest` in one call.
BackltoStatus BackltoIndexWithoutNames(const BackltoBuffer *Index,
                                       BackltoSink Rest, void *RestCtx,
                                       BackltoSink Error, void *ErrorCtx);

/// What the stages after importing may read of summary index `Index`, the one
/// of module `Module`, as bytes that are equal for indexes between which those
/// stages see no difference (Remainder.cpp). An error, which goes to `Error`,
/// when it holds anything of which that is not known.
BackltoStatus BackltoIndexRemainder(const BackltoBuffer *Index,
                                    BackltoSlice Module, BackltoSink Remainder,
                                    void *RemainderCtx, BackltoSink Error,
                                    void *ErrorCtx);

/// The names of the defined symbols of bitcode file `Buffer`, one sink call
/// each, in the order of its symbol table.
BackltoStatus BackltoDefinedSymbols(const BackltoBuffer *Buffer,
                                    BackltoSink Symbol, void *SymbolCtx,
                                    BackltoSink Error, void *ErrorCtx);

/// Whether the front end wanted position-independent code of the module in
/// `Buffer`. LLD's own backends go by that in a relocatable link.
BackltoStatus BackltoIsPositionIndependent(const BackltoBuffer *Buffer,
                                           bool *Result, BackltoSink Error,
                                           void *ErrorCtx);

/// Whether a variable that is local to `Module` and is not constant has another
/// linkage in `Index`, the module's summary index: others use it, so it gets a
/// name that no other has (llvm/lib/Transforms/Utils/FunctionImportUtils.cpp).
BackltoStatus BackltoPromotesVariable(const BackltoBuffer *Module,
                                      const BackltoBuffer *Index, bool *Result,
                                      BackltoSink Error, void *ErrorCtx);

//===- One backend compile (Backend.cpp) ----------------------------------===//

/// Is shown what the optimiser is about to get: the module with everything it
/// imports, as bitcode that holds the order of uses too, if the request wants
/// it. That, the flags and BackltoIndexRemainder decide the object. `Places` are
/// where in the sources calls and inline assembly stand (`!srcloc`), of which the
/// bitcode only says which are the same: messages name them, nothing else. False
/// stops the compile there, without an object and without an error.
typedef bool (*BackltoImportedFn)(void *Ctx, const uint8_t *Bitcode,
                                  size_t Len, const uint64_t *Places,
                                  size_t PlaceCount);

/// Everything one compile reads, all borrowed for the call.
typedef struct {
  const BackltoInvocation *Invocation;
  /// A fresh context; the caller frees it, unless the call crashed.
  LLVMContextRef Context;
  /// The bitcode; its name is the path that the thin link was given.
  BackltoBuffer Module;
  /// The summary index; empty bytes mean "compile without ThinLTO". A null
  /// name means that the command line has no -fthinlto-index=.
  BackltoBuffer Index;
  /// Modules to import from, named as the index names them.
  const BackltoBuffer *Imports;
  size_t ImportCount;
  /// The path of the object, for what LLVM derives from it.
  BackltoSlice OutputPath;
  /// Null, or called once the imports are in.
  BackltoImportedFn Imported;
  /// Whether Imported has a use for the bitcode.
  bool WantsBitcode;
  /// Called before that with each text of assembly in the module; null when
  /// Imported is.
  BackltoSink AsmText;
  void *ImportedCtx;
  /// Null, or receives LLVM's time trace of the compile, a JSON text.
  BackltoSink TimeTrace;
  void *TimeTraceCtx;
  /// Null, or receives the name of each function that the module defines when its
  /// code is about to be generated, one call each, and then an empty text.
  BackltoSink Functions;
  void *FunctionsCtx;
} BackltoCompileRequest;

/// Compiles one module. The object goes to `Object` in one call, and only
/// when all went well; every message, as clang prints it, to `Diagnostics`;
/// LLVM's reason for a failure that clang has no message for to `Error`.
/// `BackendNanoseconds` gets the CPU time of LLVM's ThinLTO backend itself
/// (import, optimiser, code generation); the rest of the call is set-up.
/// `Printed` says whether LLVM has printed something meanwhile that is not among the
/// messages.
/// `Signal` gets the number of the signal after BackltoStatusCrash; then there
/// are no messages. After a crash or a fatal error the thread must not enter C++
/// again, nor end.
BackltoStatus BackltoCompile(const BackltoCompileRequest *Request,
                             uint64_t *BackendNanoseconds, int *Signal,
                             bool *Printed, BackltoSink Object, void *ObjectCtx,
                             BackltoSink Diagnostics, void *DiagnosticsCtx,
                             BackltoSink Error, void *ErrorCtx);

/// True when the seams (Seams.h) are the functions that clang calls.
bool BackltoSeamsActive(void);

//===- Thin link (ThinLink.cpp) -------------------------------------------===//

/// Everything that a thin link reads, all borrowed for the call.
typedef struct {
  const BackltoBuffer *Modules;
  size_t ModuleCount;
  /// Symbols that something outside of the modules refers to.
  const BackltoSlice *Used;
  size_t UsedCount;
  /// The objects will be linked to a larger object; to a shared library; else
  /// to a program.
  bool Relocatable;
  bool Shared;
  bool WholeProgramVisibility;
} BackltoThinLink;

/// Resolves symbols as ld.lld does and links `Modules` by their summaries. Each
/// module's index goes to `Index` in one call, in the order of the modules.
BackltoStatus BackltoRunThinLink(const BackltoThinLink *, BackltoSink Index,
                                 void *IndexCtx, BackltoSink Error,
                                 void *ErrorCtx);

/// Writes `Source`, IR as text or bitcode, as ThinLTO bitcode to `Bitcode`, in
/// one call.
BackltoStatus BackltoWriteThinLTO(const BackltoBuffer *Source,
                                  BackltoSink Bitcode, void *BitcodeCtx,
                                  BackltoSink Error, void *ErrorCtx);

//===- Archives (Archive.cpp) ---------------------------------------------===//

/// Writes a thin archive without symbol table that holds the files `Members`
/// (NUL-terminated paths relative to the current directory) to the file
/// `Path`, as `llvm-ar cDPrS --thin` does.
BackltoStatus BackltoWriteThinArchive(const char *Path,
                                      const char *const *Members, size_t Count,
                                      BackltoSink Error, void *ErrorCtx);

#ifdef __cplusplus
}
#endif

#endif
