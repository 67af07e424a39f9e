//===- ThinLink.cpp - The thin link of modules in memory ------------------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// LLVM's LTO library does the link; a linker's part in it, the resolution of
// symbols, is that of ld.lld (BitcodeFile::parse and BitcodeCompiler::add in
// lld/ELF). The indexes are written as emitFiles of llvm/lib/LTO/LTO.cpp does,
// but to memory.
//
//===----------------------------------------------------------------------===//

#include "Internal.h"
#include "KeptErrors.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/DiagnosticPrinter.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/LTO/LTO.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/IPO/FunctionImport.h"
#include "llvm/Transforms/IPO/ThinLTOBitcodeWriter.h"
#include "llvm/Transforms/Utils/NameAnonGlobals.h"
#if LLVM_VERSION_MAJOR >= 23
#include "llvm/Transforms/Utils/AssignGUID.h"
#endif
#include <stdexcept>

using namespace llvm;
using namespace backlto;

namespace {

using Indexes = StringMap<SmallVector<char, 0>>;

#if LLVM_VERSION_MAJOR < 20

/// LLVM 19 lets nobody write a back end, and has one that writes indexes to files.
class KeepIndexes {
  SmallString<128> Directory;
  std::string Prefix;

public:
  explicit KeepIndexes(ArrayRef<BackltoBuffer> Modules) {
    if (std::error_code EC = sys::fs::createUniqueDirectory("backlto", Directory))
      throw std::runtime_error("cannot make a directory for indexes: " +
                               EC.message());
    // Deep enough for names that go up: none may end outside.
    Prefix = (Directory + "/").str();
    size_t Ups = 0;
    for (const BackltoBuffer &Module : Modules)
      Ups = std::max(Ups, toRef(Module.Name).count(".."));
    for (; Ups; --Ups)
      Prefix += "down/";
  }
  KeepIndexes(const KeepIndexes &) = delete;
  ~KeepIndexes() { sys::fs::remove_directories(Directory); }

  lto::ThinBackend backend(Indexes &Written, std::string &Messages) {
    auto Keep = [&](const std::string &Path) {
      std::string File = lto::getThinLTOOutputFile(Path, "", Prefix);
      auto Buffer = MemoryBuffer::getFile(File + ".thinlto.bc");
      if (!Buffer) {
        Messages += "cannot read the index of '" + Path +
                    "': " + Buffer.getError().message();
        return;
      }
      StringRef Bytes = (*Buffer)->getBuffer();
      Written[Path].assign(Bytes.begin(), Bytes.end());
    };
    return lto::createWriteIndexesThinBackend("", Prefix, "",
                                              /*ShouldEmitImportsFiles=*/false,
                                              nullptr, Keep);
  }
};

#else

/// A back end that compiles nothing and keeps the index that it would need.
class KeepIndex final : public lto::ThinBackendProc {
  Indexes &Written;

public:
  template <typename... Ts>
  KeepIndex(Indexes &Written, Ts &&...Args)
      : ThinBackendProc(std::forward<Ts>(Args)...), Written(Written) {}
  Error start(unsigned, BitcodeModule Module,
              const FunctionImporter::ImportMapTy &Imports,
              const FunctionImporter::ExportSetTy &,
              const std::map<GlobalValue::GUID, GlobalValue::LinkageTypes> &,
              MapVector<StringRef, BitcodeModule> &) override {
    ModuleToSummariesForIndexTy Summaries;
    GVSummaryPtrSet Declarations;
    StringRef Path = Module.getModuleIdentifier();
    gatherImportedSummariesForModule(Path, ModuleToDefinedGVSummaries, Imports,
                                     Summaries, Declarations);
    raw_svector_ostream OS(Written[Path]);
    writeIndexToFile(CombinedIndex, OS, &Summaries, &Declarations);
    return Error::success();
  }
};

/// Where those indexes go, for the back ends of one thin link.
class KeepIndexes {
public:
  explicit KeepIndexes(ArrayRef<BackltoBuffer>) {}

  lto::ThinBackend backend(Indexes &Written, std::string &) {
    ThreadPoolStrategy One = hardware_concurrency(1);
    return {// The rest is about objects.
            [&Written, One](const lto::Config &C, ModuleSummaryIndex &Index,
                            const DenseMap<StringRef, GVSummaryMapTy> &Defined,
                            auto &&...) {
              return std::make_unique<KeepIndex>(Written, C, Index, Defined,
                                                 nullptr, false, One);
            },
            One};
  }
};

#endif

/// What is known of a symbol's name, over all modules.
struct Symbol {
  /// The module whose definition counts.
  std::optional<size_t> Owner;
  /// 1 weak, 2 common, 3 strong.
  unsigned Rank = 0;
  uint64_t CommonSize = 0;
  bool Hidden = false;
  bool Exported = true;
};

class ThinLink {
  const BackltoThinLink &Request;
  std::vector<std::unique_ptr<lto::InputFile>> Files;
  StringMap<Symbol> Symbols;
  StringMap<size_t> Comdats;
  StringSet<> Used, UsedSections;

  Error resolve(size_t Number, const lto::InputFile::Symbol &Sym, bool Kept) {
    Symbol &Known = Symbols[Sym.getName()];
    Known.Hidden |= Sym.getVisibility() == GlobalValue::HiddenVisibility;
    Known.Exported &= !Known.Hidden && !Sym.canBeOmittedFromSymbolTable();
    if (Sym.isUndefined() || !Kept) {
      StringRef Section = Sym.getName();
      if (Section.consume_front("__start_") || Section.consume_front("__stop_"))
        UsedSections.insert(Section);
      return Error::success();
    }
    unsigned Rank = Sym.isCommon() ? 2 : Sym.isWeak() ? 1 : 3;
    uint64_t Size = Sym.isCommon() ? Sym.getCommonSize() : 0;
    if (Rank == 3 && Known.Rank == 3 && *Known.Owner != Number)
      return createStringError("duplicate symbol '" + Twine(Sym.getName()) +
                               "' in '" + Files[*Known.Owner]->getName() +
                               "' and '" + Files[Number]->getName() + "'");
    if (Rank > Known.Rank || (Rank == 2 && Known.Rank == 2 && Size > Known.CommonSize)) {
      Known.Owner = Number;
      Known.Rank = Rank;
      Known.CommonSize = Size;
    }
    return Error::success();
  }

  Error read(const BackltoBuffer &Buffer) {
    auto Modules = getBitcodeModuleList(toRef(Buffer));
    if (!Modules)
      return Modules.takeError();
    for (BitcodeModule &Module : *Modules) {
      auto Info = Module.getLTOInfo();
      if (!Info)
        return Info.takeError();
      if (!Info->IsThinLTO)
        return createStringError("it holds code without a ThinLTO summary");
    }
    auto File = lto::InputFile::create(toRef(Buffer));
    if (!File)
      return File.takeError();
    size_t Number = Files.size();
    Files.push_back(std::move(*File));
    std::vector<bool> Kept;
    for (const auto &[Name, Kind] : Files[Number]->getComdatTable())
      Kept.push_back(Kind == Comdat::NoDeduplicate ||
                     Comdats.try_emplace(Name, Number).second);
    for (const auto &Sym : Files[Number]->symbols()) {
      int Group = Sym.getComdatIndex();
      if (Error E = resolve(Number, Sym, Group == -1 || Kept[Group]))
        return E;
    }
    return Error::success();
  }

  lto::SymbolResolution resolution(size_t Number,
                                   const lto::InputFile::Symbol &Sym) {
    const Symbol &Known = Symbols[Sym.getName()];
    bool Shared = Request.Shared && Known.Exported;
    lto::SymbolResolution R;
    R.Prevailing = !Sym.isUndefined() && Known.Owner == Number;
    R.VisibleToRegularObj = Request.Relocatable || Used.contains(Sym.getName()) ||
                            (R.Prevailing && Shared) ||
                            UsedSections.contains(Sym.getSectionName());
    R.ExportDynamic = Shared;
    // ld.lld knows no place for a common symbol, and no longer sees a definition
    // once its module was added.
    R.FinalDefinitionInLinkageUnit =
        Known.Rank != 0 && Known.Rank != 2 && *Known.Owner >= Number &&
        (Known.Hidden || (!Request.Shared && !Request.Relocatable));
    return R;
  }

public:
  explicit ThinLink(const BackltoThinLink &Request) : Request(Request) {
    for (const BackltoSlice &Name : ArrayRef(Request.Used, Request.UsedCount))
      Used.insert(toRef(Name));
  }

  Error run(Indexes &Written) {
    for (const BackltoBuffer &Module :
         ArrayRef(Request.Modules, Request.ModuleCount))
      if (Error E = read(Module))
        return createStringError("'" + toRef(Module.Name) +
                                 "': " + toString(std::move(E)));
    std::string Messages;
    lto::Config Conf;
    Conf.HasWholeProgramVisibility = Request.WholeProgramVisibility;
    Conf.DiagHandler = [&](const DiagnosticInfo &Info) {
      raw_string_ostream OS(Messages);
      DiagnosticPrinterRawOStream Printer(OS);
      if (Info.getSeverity() == DS_Error)
        Info.print(Printer);
    };
    KeepIndexes Kept(ArrayRef(Request.Modules, Request.ModuleCount));
    lto::LTO Link(std::move(Conf), Kept.backend(Written, Messages));
    for (size_t Number = 0; Number != Files.size(); ++Number) {
      std::vector<lto::SymbolResolution> Resolutions;
      for (const auto &Sym : Files[Number]->symbols())
        Resolutions.push_back(resolution(Number, Sym));
      if (Error E = Link.add(std::move(Files[Number]), Resolutions))
        return E;
    }
    auto NoObject = [](unsigned, const Twine &)
        -> Expected<std::unique_ptr<CachedFileStream>> {
      return createStringError("a thin link writes no object");
    };
    if (Error E = Link.run(NoObject))
      return E;
    return Messages.empty() ? Error::success() : createStringError(Messages);
  }
};

} // namespace

BackltoStatus BackltoRunThinLink(const BackltoThinLink *Request,
                                 BackltoSink Index, void *IndexCtx,
                                 BackltoSink ErrorOut, void *ErrorCtx) {
  Sink Out{ErrorOut, ErrorCtx};
  return contained(Out, [&] {
    Indexes Written;
    if (Error E = ThinLink(*Request).run(Written))
      return fail(Out, std::move(E));
    for (const BackltoBuffer &Module :
         ArrayRef(Request->Modules, Request->ModuleCount)) {
      auto &Bytes = Written[toRef(Module.Name)];
      Sink{Index, IndexCtx}({Bytes.data(), Bytes.size()});
    }
    return BackltoStatusOk;
  });
}

/// Gives `M` the data layout of its target.
static Error setDataLayout(Module &M) {
#if LLVM_VERSION_MAJOR < 22
  // Only a target's code generator knows it.
  std::string Reason;
  std::string Name(Triple(M.getTargetTriple()).str());
  if (Name.empty())
    return Error::success();
  const Target *Found = TargetRegistry::lookupTarget(Name, Reason);
  if (!Found)
    return createStringError(Reason);
#if LLVM_VERSION_MAJOR < 21
  StringRef Named = Name;
#else
  Triple Named(Name);
#endif
  std::unique_ptr<TargetMachine> Machine(Found->createTargetMachine(
      Named, /*CPU=*/"", /*Features=*/"", TargetOptions(), std::nullopt));
  M.setDataLayout(Machine->createDataLayout());
#else
  M.setDataLayout(M.getTargetTriple().computeDataLayout());
#endif
  return Error::success();
}

/// As `opt --thinlto-bc` does it; LLVM names no summary of an unnamed global.
static Error writeThinLTO(const BackltoBuffer &Source, raw_ostream &OS) {
  LLVMContext Context;
  KeptErrors Errors(Context);
  SMDiagnostic Diagnostic;
  // LLVM's parser of text wants a NUL at the end.
  auto Copy = MemoryBuffer::getMemBufferCopy(toRef(Source.Bytes), toRef(Source.Name));
  auto M = parseIR(Copy->getMemBufferRef(), Diagnostic, Context);
  std::string Text;
  raw_string_ostream Reason(Text);
  if (!M) {
    Diagnostic.print(nullptr, Reason, /*ShowColors=*/false);
    return createStringError(StringRef(Text).rtrim());
  }
  if (verifyModule(*M, &Reason))
    return createStringError(StringRef(Text).rtrim());
  // LTO wants both of these; clang always writes them.
  if (M->getDataLayoutStr().empty())
    if (Error E = setDataLayout(*M))
      return E;
  if (!M->getModuleFlag("EnableSplitLTOUnit"))
    M->addModuleFlag(llvm::Module::Error, "EnableSplitLTOUnit", uint32_t(0));
  PassBuilder Builder;
  LoopAnalysisManager Loops;
  FunctionAnalysisManager Functions;
  CGSCCAnalysisManager SCCs;
  ModuleAnalysisManager Modules;
  Builder.registerModuleAnalyses(Modules);
  Builder.registerCGSCCAnalyses(SCCs);
  Builder.registerFunctionAnalyses(Functions);
  Builder.registerLoopAnalyses(Loops);
  Builder.crossRegisterProxies(Loops, Functions, SCCs, Modules);
  ModulePassManager Passes;
  Passes.addPass(NameAnonGlobalPass());
#if LLVM_VERSION_MAJOR >= 23
  // Summaries are found by what it writes into the module.
  Passes.addPass(AssignGUIDPass());
#endif
  Passes.addPass(ThinLTOBitcodeWriterPass(OS, nullptr));
  Passes.run(*M, Modules);
  return Errors.take();
}

BackltoStatus BackltoWriteThinLTO(const BackltoBuffer *Source,
                                  BackltoSink Bitcode, void *BitcodeCtx,
                                  BackltoSink ErrorOut, void *ErrorCtx) {
  Sink Out{ErrorOut, ErrorCtx};
  return contained(Out, [&] {
    SmallVector<char, 0> Bytes;
    raw_svector_ostream OS(Bytes);
    if (Error E = writeThinLTO(*Source, OS))
      return fail(Out, std::move(E));
    Sink{Bitcode, BitcodeCtx}({Bytes.data(), Bytes.size()});
    return BackltoStatusOk;
  });
}
