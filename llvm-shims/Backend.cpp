//===- Backend.cpp - One backend compile, as clang does it ----------------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// This is cc1 with an IR input (clang/tools/driver/cc1_main.cpp), less what
// belongs to a process of its own: clang's EmitObjAction does the work.
//
//===----------------------------------------------------------------------===//

#include "Internal.h"
#include "clang/Basic/DiagnosticOptions.h"
#include "clang/CodeGen/CodeGenAction.h"
#include "clang/Frontend/CompilerInstance.h"
#include "clang/Frontend/CompilerInvocation.h"
#include "clang/Frontend/FrontendOptions.h"
#include "clang/Frontend/TextDiagnosticPrinter.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/TimeProfiler.h"
#include "llvm/Support/VirtualFileSystem.h"
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <thread>
#include <unistd.h>
#if LLVM_VERSION_MAJOR < 22
#include <sys/mman.h>
#include <sys/stat.h>
#else
#include "llvm/Support/VirtualOutputBackends.h"
#endif

using namespace llvm;
using namespace backlto;
using namespace clang;

namespace {

/// Where the object of a job goes: memory, so that nothing is written under
/// its name until the engine does, whole.
struct ObjectBuffer {
  SmallVector<char, 0> Bytes;
  bool Kept = false;
};

#if LLVM_VERSION_MAJOR < 22

/// clang opens its output by name, which no class of ours can come between. So it
/// is given that of a file in memory.
class MemoryFile {
  int Descriptor;

public:
  MemoryFile() : Descriptor(memfd_create("backlto", MFD_CLOEXEC)) {
    if (Descriptor < 0)
      throw std::runtime_error(std::string("cannot make a file in memory: ") +
                               strerror(errno));
  }
  MemoryFile(const MemoryFile &) = delete;
  ~MemoryFile() { close(Descriptor); }

  std::string path() const {
    return "/proc/self/fd/" + std::to_string(Descriptor);
  }
  void read(SmallVectorImpl<char> &Bytes) const {
    struct stat Status;
    if (fstat(Descriptor, &Status))
      return;
    Bytes.resize_for_overwrite(size_t(Status.st_size));
    size_t Done = 0;
    while (Done < Bytes.size()) {
      ssize_t Count = pread(Descriptor, Bytes.data() + Done, Bytes.size() - Done,
                            off_t(Done));
      if (Count <= 0)
        break;
      Done += size_t(Count);
    }
    Bytes.truncate(Done);
  }
};

#else

class ObjectFile final
    : public RTTIExtends<ObjectFile, vfs::OutputFileImpl> {
  ObjectBuffer &Buffer;
  raw_svector_ostream OS;

public:
  static char ID;
  explicit ObjectFile(ObjectBuffer &Buffer) : Buffer(Buffer), OS(Buffer.Bytes) {}
  Error keep() override {
    Buffer.Kept = true;
    return Error::success();
  }
  Error discard() override {
    Buffer.Bytes.clear();
    return Error::success();
  }
  raw_pwrite_stream &getOS() override { return OS; }
};
char ObjectFile::ID = 0;

/// Sends the file `Path` to memory, and what flags may ask for beside it (such
/// as a saved optimisation record) to disk.
class JobOutputs final : public vfs::OutputBackend {
  std::string Path;
  ObjectBuffer &Object;
  IntrusiveRefCntPtr<vfs::OnDiskOutputBackend> Disk =
      makeIntrusiveRefCnt<vfs::OnDiskOutputBackend>();

  IntrusiveRefCntPtr<OutputBackend> cloneImpl() const override {
    return makeIntrusiveRefCnt<JobOutputs>(Path, Object);
  }
  Expected<std::unique_ptr<vfs::OutputFileImpl>>
  createFileImpl(StringRef File,
                 std::optional<vfs::OutputConfig> Config) override {
    if (File == Path)
      return std::make_unique<ObjectFile>(Object);
    Expected<vfs::OutputFile> Other = Disk->createFile(File, Config);
    if (!Other)
      return Other.takeError();
    return Other->takeImpl();
  }

public:
  JobOutputs(StringRef Path, ObjectBuffer &Object)
      : Path(Path), Object(Object) {}
};

#endif

} // namespace

static std::unique_ptr<CodeGenAction> makeAction(frontend::ActionKind Kind,
                                                  LLVMContext &Context) {
  switch (Kind) {
  case frontend::EmitObj:
    return std::make_unique<EmitObjAction>(&Context);
  case frontend::EmitAssembly:
    return std::make_unique<EmitAssemblyAction>(&Context);
  case frontend::EmitBC:
    return std::make_unique<EmitBCAction>(&Context);
  case frontend::EmitLLVM:
    return std::make_unique<EmitLLVMAction>(&Context);
  default:
    return nullptr;
  }
}

/// Returns true when clang reported no error.
static bool compile(const BackltoCompileRequest &Request, ObjectBuffer &Object,
                    std::string &Messages, ActiveJob &Job) {
  auto Invocation =
      std::make_shared<CompilerInvocation>(base(*Request.Invocation));
  FrontendOptions &Frontend = Invocation->getFrontendOpts();
  CodeGenOptions &CodeGen = Invocation->getCodeGenOpts();
  StringRef Output = toRef(Request.OutputPath);

  // What differs between two jobs with one flag set: the names.
  Frontend.Inputs = {
      FrontendInputFile(toRef(Request.Module), InputKind(Language::LLVM_IR))};
  Frontend.OutputFile = Output.str();
  CodeGen.MainFileName =
      sys::path::filename(toRef(Request.Module.Name)).str();
  CodeGen.ThinLTOIndexFile = toRef(Request.Index.Name).str();

  raw_string_ostream OS(Messages);
  OS.enable_colors(true);
#if LLVM_VERSION_MAJOR < 21
  CompilerInstance Clang;
  Clang.setInvocation(Invocation);
  auto *Printer = new TextDiagnosticPrinter(OS, &Clang.getDiagnosticOpts());
#else
  CompilerInstance Clang(Invocation);
  auto *Printer = new TextDiagnosticPrinter(OS, Clang.getDiagnosticOpts());
#endif
#if LLVM_VERSION_MAJOR < 20
  Clang.createDiagnostics(Printer, /*ShouldOwnClient=*/true);
#elif LLVM_VERSION_MAJOR < 22
  Clang.createDiagnostics(*vfs::getRealFileSystem(), Printer,
                          /*ShouldOwnClient=*/true);
#else
  Clang.createVirtualFileSystem(vfs::getRealFileSystem());
  Clang.createDiagnostics(Printer, /*ShouldOwnClient=*/true);
#endif
  repeatMessages(*Request.Invocation, Clang.getDiagnostics());
  Clang.setVerboseOutputStream(OS);
  Clang.createFileManager();
#if LLVM_VERSION_MAJOR < 22
  MemoryFile File;
  Frontend.OutputFile = File.path();
  // Not through another file, which it could not make there.
  Frontend.UseTemporary = false;
  // An error about the command line is not counted (ExecuteCompilerInvocation).
  if (Clang.getDiagnostics().hasErrorOccurred())
    return false;
#else
  Clang.setOutputManager(makeIntrusiveRefCnt<JobOutputs>(Output, Object));
#endif

  auto Action = makeAction(Frontend.ProgramAction, *unwrap(Request.Context));
  if (!Action) {
    Job.Failure = "the command line asks for something other than code "
                  "generation (use -c, -S or -emit-llvm)";
    return false;
  }
  // -ftime-report takes it for granted, as cc1_main does.
  if (CodeGen.TimePasses)
    Clang.createFrontendTimer();
  bool Ok = Clang.ExecuteAction(*Action);
#if LLVM_VERSION_MAJOR < 22
  Object.Kept = Ok;
  File.read(Object.Bytes);
#endif
  // What clang says of a module that it cannot load does not name the file.
  if (!Ok && Clang.hasTarget() && !Action->takeModule())
    Job.Failure = "LLVM cannot load it";
  return Ok;
}

/// Breaks the compile of a module as the environment asks for, so that tests
/// can see what becomes of the others: `BACKLTO_FAULT=KIND:NAME` breaks that of
/// any module whose name ends in NAME, at its start, or at its end if KIND begins
/// with `late-`. `BACKLTO_FAULT_HERE` does the same, but is not handed on to
/// worker processes. Who is to `wait` does so until there is a file with the name
/// `BACKLTO_FAULT_UNTIL`; who is to `last` sleeps for as many milliseconds as its
/// module's name ends in, as `a-750.o` does.
static void injectFault(StringRef Module, bool AtEnd) {
  for (const char *Variable : {"BACKLTO_FAULT", "BACKLTO_FAULT_HERE"}) {
    const char *Value = getenv(Variable);
    if (!Value)
      continue;
    auto [Kind, Name] = StringRef(Value).split(':');
    if (!Module.ends_with(Name) || Kind.consume_front("late-") != AtEnd)
      continue;
    if (Kind == "segv")
      raise(SIGSEGV);
    if (Kind == "throw")
      throw std::runtime_error("a fault that was asked for");
    if (Kind == "fatal")
      report_fatal_error("a fault that was asked for");
    if (Kind == "wait")
      while (const char *Until = getenv("BACKLTO_FAULT_UNTIL")) {
        if (access(Until, F_OK) == 0)
          break;
        usleep(10000);
      }
    if (Kind == "last") {
      unsigned Milliseconds = 0;
      Module.rsplit('-').second.consumeInteger(10, Milliseconds);
      std::this_thread::sleep_for(std::chrono::milliseconds(Milliseconds));
    }
    if (Kind == "hang")
      for (;;)
        pause();
    if (Kind == "heap") {
      // The allocator notices while it holds its lock, and aborts.
      // Volatile, so that the compiler does not notice first.
      volatile size_t Size = 100000, Past = 64;
      for (int Round = 0; Round < 1000; ++Round)
        memset(malloc(Size), 0xff, Size + Past);
      abort();
    }
  }
}

namespace {

/// All that one compile owns. It is not on the stack: after a crash it is left
/// alone, since to free any of it could mean to wait for a lock that the compile
/// held.
struct Compile {
  ObjectBuffer Object;
  std::string Messages;
  JobErrs Errs{Messages};
  ActiveJob Job;
  CrashRecoveryContext Recovery;
  bool Ok = false;
  bool Threw = false;

  explicit Compile(const BackltoCompileRequest &Request)
      : Job(Request, Errs) {}
};

} // namespace

/// What is left to do after a crash, without an allocation in C++.
static BackltoStatus crashed(const Compile &Broken, int *Signal,
                             const Sink &Diagnostics, const Sink &Error) {
  noteCrash();
  if (Broken.Recovery.RetCode != BackltoStatusFatal) {
    // A signal may have come in the middle of writing a message.
    *Signal = Broken.Recovery.RetCode - 128;
    return BackltoStatusCrash;
  }
  if (!Broken.Messages.empty())
    Diagnostics(Broken.Messages);
  Error(fatalText());
  return BackltoStatusFatal;
}

BackltoStatus BackltoCompile(const BackltoCompileRequest *Request,
                             uint64_t *BackendNanoseconds, int *Signal,
                             bool *Printed, BackltoSink ObjectSink, void *ObjectCtx,
                             BackltoSink Diagnostics, void *DiagnosticsCtx,
                             BackltoSink Error, void *ErrorCtx) {
  Sink ErrorOut{Error, ErrorCtx}, DiagnosticsOut{Diagnostics, DiagnosticsCtx};
  // Touched now: the first use of a thread's own memory may allocate it.
  forgetFatalText();
  auto *Current = new Compile(*Request);

  // The profiler is the thread's own. Spans shorter than this are not worth a
  // place.
  constexpr unsigned GranularityInMicroseconds = 200;
  if (Request->TimeTrace)
    timeTraceProfilerInitialize(GranularityInMicroseconds, "backlto");

  bool Survived = Current->Recovery.RunSafely([&] {
    try {
      injectFault(toRef(Request->Module.Name), /*AtEnd=*/false);
      Current->Ok =
          compile(*Request, Current->Object, Current->Messages, Current->Job);
      injectFault(toRef(Request->Module.Name), /*AtEnd=*/true);
    } catch (const std::exception &E) {
      Current->Threw = true;
      Current->Job.Failure = E.what();
    } catch (...) {
      Current->Threw = true;
      Current->Job.Failure = "an exception of an unknown kind";
    }
  });
  if (!Survived)
    return crashed(*Current, Signal, DiagnosticsOut, ErrorOut);
  std::unique_ptr<Compile> Owned(Current);
  const ActiveJob &Job = Owned->Job;
  if (Request->TimeTrace) {
    // After an exception spans are still open, which the profiler cannot write.
    if (!Owned->Threw) {
      SmallString<0> Trace;
      raw_svector_ostream OS(Trace);
      timeTraceProfilerWrite(OS);
      Sink{Request->TimeTrace, Request->TimeTraceCtx}(Trace);
    }
    timeTraceProfilerCleanup();
  }
  *BackendNanoseconds = Job.BackendNanoseconds;
  *Printed = Job.hasPrinted();
  if (!Owned->Messages.empty())
    DiagnosticsOut(Owned->Messages);
  if (!Job.Failure.empty())
    ErrorOut(Job.Failure);
  if (Owned->Threw) {
    // What it was in the middle of is unknown.
    noteCrash();
    return BackltoStatusFatal;
  }
  if (Job.Stopped)
    return BackltoStatusStopped;
  // clang exits with success after some failures, and leaves no bytes.
  const ObjectBuffer &Object = Owned->Object;
  if (!Owned->Ok || !Job.Failure.empty() || !Object.Kept ||
      Object.Bytes.empty())
    return BackltoStatusError;
  Sink{ObjectSink, ObjectCtx}({Object.Bytes.data(), Object.Bytes.size()});
  return BackltoStatusOk;
}
