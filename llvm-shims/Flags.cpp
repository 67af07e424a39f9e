//===- Flags.cpp - A clang command line becomes an invocation -------------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The steps are those of clang's own main (clang/tools/driver/driver.cpp): the
// driver turns the command line into a cc1 one, the front end turns that into
// a CompilerInvocation. No flag is interpreted here.
//
//===----------------------------------------------------------------------===//

#include "Internal.h"
#include "clang/Basic/Diagnostic.h"
#include "clang/Basic/DiagnosticIDs.h"
#include "clang/Basic/DiagnosticOptions.h"
#include "clang/Basic/TargetOptions.h"
#include "clang/Driver/Compilation.h"
#include "clang/Driver/Driver.h"
#include "clang/Driver/Job.h"
#include "clang/Driver/Tool.h"
#include "clang/Driver/ToolChain.h"
#include "clang/Frontend/CompilerInvocation.h"
#include "clang/Frontend/TextDiagnosticBuffer.h"
#include "clang/Frontend/TextDiagnosticPrinter.h"
#include "llvm/Option/ArgList.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/VirtualFileSystem.h"
#include "llvm/TargetParser/Host.h"

using namespace llvm;
using namespace backlto;
using namespace clang;

struct BackltoInvocation {
  /// The compiler's name. Base points to it (CodeGenOptions::Argv0).
  std::string Program;
  CompilerInvocation Base;
  std::vector<std::string> CC1Args;
  /// What cc1 has to say of its command line.
  TextDiagnosticBuffer Said;
};

const CompilerInvocation &backlto::base(const BackltoInvocation &I) {
  return I.Base;
}

void backlto::repeatMessages(const BackltoInvocation &I,
                             DiagnosticsEngine &Diags) {
  I.Said.FlushDiagnostics(Diags);
}

namespace {

#if LLVM_VERSION_MAJOR < 21
// Diagnostics share their options.
using OwnedOptions = IntrusiveRefCntPtr<DiagnosticOptions>;
const OwnedOptions &handed(const OwnedOptions &Options) { return Options; }
DiagnosticOptions *lent(const OwnedOptions &Options) { return Options.get(); }
#else
using OwnedOptions = std::unique_ptr<DiagnosticOptions>;
DiagnosticOptions &handed(const OwnedOptions &Options) { return *Options; }
DiagnosticOptions &lent(const OwnedOptions &Options) { return *Options; }
#endif

/// Decides whether messages have colours, where clang leaves that to the stream that
/// they go to: they have them if standard error shows any. True if they are to have
/// them for that.
bool decideColours(DiagnosticOptions &Options) {
#if LLVM_VERSION_MAJOR < 23
  // The driver has decided.
  return false;
#else
  if (Options.getShowColors() != ShowColorsKind::Auto ||
      !sys::Process::StandardErrHasColors())
    return false;
  Options.setShowColors(ShowColorsKind::On);
  return true;
#endif
}

/// A diagnostics engine that prints to a string.
class TextDiagnostics {
  OwnedOptions Options;
  raw_string_ostream OS;

public:
  TextDiagnosticPrinter *Printer;
  DiagnosticsEngine Engine;

  TextDiagnostics(std::unique_ptr<DiagnosticOptions> Opts, std::string &Text,
                  vfs::FileSystem &VFS)
      : Options(Opts.release()), OS(Text),
        Printer(new TextDiagnosticPrinter(OS, lent(Options))),
        Engine(makeIntrusiveRefCnt<DiagnosticIDs>(), handed(Options), Printer) {
    OS.enable_colors(true);
    decideColours(*Options);
#if LLVM_VERSION_MAJOR < 20
    // A file of suppressed warnings, which the file system is for, came later.
    ProcessWarningOptions(Engine, *Options, /*ReportDiags=*/false);
#else
    ProcessWarningOptions(Engine, *Options, VFS, /*ReportDiags=*/false);
#endif
  }
};

} // namespace

/// The one cc1 job of `C`, or null after saying why there is none.
static const clang::driver::Command *backendJob(const clang::driver::Compilation &C,
                                         DiagnosticsEngine &Diags) {
  const auto &Jobs = C.getJobs();
  // An error already reported, e.g. an unknown argument or no input.
  if (Diags.hasErrorOccurred())
    return nullptr;
  if (Jobs.size() == 1 &&
      StringRef(Jobs.begin()->getCreator().getName()) == "clang")
    return &*Jobs.begin();
  unsigned ID = Diags.getCustomDiagID(
      DiagnosticsEngine::Error,
      "this command line runs %0 tools, where a backend compile runs clang "
      "alone (use -c, one input and the integrated assembler)");
  Diags.Report(ID) << unsigned(Jobs.size());
  return nullptr;
}

/// The name of `Option`, one of LLVM's own.
static StringRef nameOf(StringRef Option) {
  return Option.ltrim('-').split('=').first;
}

/// Whether LLVM's own `Option` names a program or a library for it to run.
static bool runsPrograms(StringRef Option) {
  return is_contained({"exec-on-ir-change", "x86-lvi-load-opt-plugin"},
                      nameOf(Option));
}

/// Whether LLVM answers its own `Option` and ends the process, whatever that does besides.
static bool endsProcess(StringRef Option) {
  return is_contained(
      {"h", "help", "help-hidden", "help-list", "help-list-hidden", "version"},
      nameOf(Option));
}

/// Says that `Option` is not followed: it asks for a file about a whole process.
static void refuse(DiagnosticsEngine &Diags, StringRef Option) {
  unsigned ID = Diags.getCustomDiagID(
      DiagnosticsEngine::Error,
      "'%0' reports on a process of its own, which this compile has not; "
      "use clang, or --trace of backlto");
  Diags.Report(ID) << Option;
}

/// What `Base` asks for that no compile in this process can give; empty if nothing.
static StringRef unsupported(const CompilerInvocation &Base) {
  // A plugin is code for the whole process; clang would load it here.
  if (!Base.getFrontendOpts().Plugins.empty() ||
      !Base.getCodeGenOpts().PassPlugins.empty() ||
      any_of(Base.getFrontendOpts().LLVMArgs, runsPrograms))
    return "compiler plugins are not supported, nor programs that LLVM would run";
  if (!Base.getFileSystemOpts().WorkingDir.empty())
    return "'-working-directory' is not supported: names start where the compile runs";
  if (Base.getDiagnosticOpts().getFormat() == DiagnosticOptions::SARIF)
    return "messages in the format SARIF are not supported";
  return "";
}

static std::unique_ptr<BackltoInvocation>
mapCommandLine(ArrayRef<const char *> CommandLine, StringRef Directory,
               StringRef ClangPath, std::string &Text) {
  // A file system of our own carries the directory, so that mapping does not
  // depend on (or change) that of the process.
  std::unique_ptr<vfs::FileSystem> Owned = vfs::createPhysicalFileSystem();
  IntrusiveRefCntPtr<vfs::FileSystem> VFS(Owned.release());
  if (std::error_code EC = VFS->setCurrentWorkingDirectory(Directory)) {
    Text = ("cannot enter directory '" + Directory + "': " + EC.message() +
            "\n").str();
    return nullptr;
  }

  SmallVector<const char *, 256> Args(CommandLine);
  BumpPtrAllocator Alloc;
  if (Error E = clang::driver::expandResponseFiles(Args, /*ClangCLMode=*/false, Alloc,
                                            VFS.get())) {
    Text = toString(std::move(E)) + "\n";
    return nullptr;
  }

  TextDiagnostics Diags(CreateAndPopulateDiagOpts(Args), Text, *VFS);
  Diags.Printer->setPrefix(std::string(sys::path::stem(Args[0])));

  clang::driver::Driver D(ClangPath, sys::getDefaultTargetTriple(), Diags.Engine,
                   "clang LLVM compiler", VFS);
  // A name such as aarch64-linux-gnu-clang chooses the target.
  D.setTargetAndMode(
      clang::driver::ToolChain::getTargetAndModeFromProgramName(Args[0]));
  // The caller checks files, with better messages, and may pass placeholders.
  D.setCheckInputsExist(false);
  std::unique_ptr<clang::driver::Compilation> C(D.BuildCompilation(Args));
  const clang::driver::Command *Job = C ? backendJob(*C, Diags.Engine) : nullptr;
  if (!Job)
    return nullptr;

  // clang's driver writes this one about the processes that it starts.
  for (const opt::Arg *Arg : C->getArgs())
    if (Arg->getSpelling().starts_with("-fproc-stat-report")) {
      refuse(Diags.Engine, Arg->getSpelling());
      return nullptr;
    }

  auto Result = std::make_unique<BackltoInvocation>();
  Result->Program = Args[0];
  ArrayRef<const char *> CC1 = Job->getArguments();
  Result->CC1Args.assign(CC1.begin(), CC1.end());
  TextDiagnostics CC1Diags(CreateAndPopulateDiagOpts(CC1), Text, *VFS);
  // As cc1_main does it: the flags that choose what is said are among those that
  // something is said of, so it is said in the compile.
  OwnedOptions NoOptions(new DiagnosticOptions);
  DiagnosticsEngine Buffered(makeIntrusiveRefCnt<DiagnosticIDs>(),
                             handed(NoOptions), &Result->Said,
                             /*ShouldOwnClient=*/false);
  // With the leading "-cc1", as ExecuteCC1Tool of clang/tools/driver/driver.cpp
  // hands them on: an object may hold them.
  if (!CompilerInvocation::CreateFromArgs(Result->Base, CC1, Buffered,
                                          Result->Program.c_str())) {
    repeatMessages(*Result, CC1Diags.Engine);
    return nullptr;
  }
  // As earlier drivers say it.
  if (decideColours(Result->Base.getDiagnosticOpts()))
    Result->CC1Args.insert(Result->CC1Args.begin() + 1, "-fcolor-diagnostics");
  for (StringRef Option : Result->Base.getFrontendOpts().LLVMArgs) {
    if (nameOf(Option) == "info-output-file") {
      refuse(CC1Diags.Engine, Option);
      return nullptr;
    }
    if (endsProcess(Option)) {
      unsigned ID = CC1Diags.Engine.getCustomDiagID(
          DiagnosticsEngine::Error,
          "'%0' is answered by LLVM instead of a compile; ask clang");
      CC1Diags.Engine.Report(ID) << Option;
      return nullptr;
    }
  }
  if (Result->Base.getCodeGenOpts().TimePasses) {
    unsigned ID = CC1Diags.Engine.getCustomDiagID(
        DiagnosticsEngine::Warning,
        "no time report is printed, as other modules are compiled in this process "
        "too; clang prints one, and --trace-llvm of backlto traces LLVM's time");
    CC1Diags.Engine.Report(ID);
  }
  if (StringRef Problem = unsupported(Result->Base); !Problem.empty()) {
    CC1Diags.Engine.Report(CC1Diags.Engine.getCustomDiagID(
        DiagnosticsEngine::Error, "%0"))
        << Problem;
    return nullptr;
  }
  // cc1 leaks on purpose because its process ends; this one goes on.
  Result->Base.getFrontendOpts().DisableFree = false;
  Result->Base.getCodeGenOpts().DisableFree = false;
  return Result;
}

BackltoInvocation *BackltoMapCommandLine(const char *const *Args, size_t Count,
                                         BackltoSlice Directory,
                                         BackltoSlice ClangPath,
                                         BackltoSink Out, void *Ctx) {
  std::string Text;
  std::unique_ptr<BackltoInvocation> Result;
  contained(Sink{Out, Ctx}, [&] {
    Result = mapCommandLine(ArrayRef(Args, Count), toRef(Directory),
                            toRef(ClangPath), Text);
    return BackltoStatusOk;
  });
  if (!Text.empty())
    Sink{Out, Ctx}(Text);
  return Result.release();
}

void BackltoFreeInvocation(BackltoInvocation *I) { delete I; }

void BackltoInvocationCC1Args(const BackltoInvocation *I, BackltoSink Out,
                              void *Ctx) {
  for (const std::string &Arg : I->CC1Args)
    Sink{Out, Ctx}(Arg);
}

void BackltoInvocationLLVMOptions(const BackltoInvocation *I, BackltoSink Out,
                                  void *Ctx) {
  Sink Each{Out, Ctx};
  for (const std::string &Arg : I->Base.getFrontendOpts().LLVMArgs)
    Each(Arg);
  // clang also sets these two as process-wide options, in the middle of a
  // compile (setCommandLineOpts in clang/lib/CodeGen/BackendUtil.cpp).
  const CodeGenOptions &CodeGen = I->Base.getCodeGenOpts();
  if (!CodeGen.DebugPass.empty())
    Each("-debug-pass=" + CodeGen.DebugPass);
  if (!CodeGen.LimitFloatPrecision.empty())
    Each("-limit-float-precision=" + CodeGen.LimitFloatPrecision);
}

bool BackltoInvocationKeptInObject(const BackltoInvocation *I) {
  // CodeGenOptions::CmdArgs goes into the section .llvmcmd
  // (embedBitcodeInModule), CommandLineArgs into CodeView's build information
  // (CodeViewDebug::emitBuildInfo).
  const CodeGenOptions &CodeGen = I->Base.getCodeGenOpts();
  return CodeGen.getEmbedBitcode() != CodeGenOptions::Embed_Off ||
         CodeGen.EmitCodeView ||
         any_of(I->Base.getFrontendOpts().LLVMArgs, [](StringRef Option) {
           return Option.contains("embed-bitcode");
         });
}

void BackltoInvocationTriple(const BackltoInvocation *I, BackltoSink Out,
                             void *Ctx) {
  Sink{Out, Ctx}(I->Base.getTargetOpts().Triple);
}
