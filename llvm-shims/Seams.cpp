//===- Seams.cpp - Where clang's own code path reads our inputs -----------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One backend compile is clang's own code from end to end; that is what makes
// the bytes and the messages the same. But clang takes file *names* for the
// index and the imported modules, opens them again in every job, and prints
// what goes wrong to the process's standard error, then reports success.
//
// So we come between clang and LLVM for three calls. Each gives the calling job
// what the plan holds (mapped buffers, its own error text) and otherwise forwards
// to LLVM. How the calls get here is another matter: SeamsLoaded.cpp and
// SeamsWrapped.cpp are two ways, of which build.rs takes one.
//
//===----------------------------------------------------------------------===//

#include "Seams.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/ModuleSummaryIndex.h"
#include "llvm/LTO/LTOBackend.h"
#include <time.h>

using namespace llvm;
using namespace backlto;

static thread_local ActiveJob *Current = nullptr;

ActiveJob::ActiveJob(const BackltoCompileRequest &Request, JobErrs &Errs)
    : Request(Request), Errs(Errs), PrintedBefore(seams::printedByLLVM()) {
  Current = this;
}
bool ActiveJob::hasPrinted() const {
  return seams::printedByLLVM() != PrintedBefore;
}
ActiveJob::~ActiveJob() { Current = nullptr; }
ActiveJob *ActiveJob::current() { return Current; }

raw_fd_ostream &seams::errs(ErrsFn *Next) {
  if (Current)
    return Current->Errs;
  if (Next)
    return Next();
  static raw_fd_ostream Plain(2, /*shouldClose=*/false, /*unbuffered=*/true);
  return Plain;
}

seams::IndexOrError seams::readIndex(ReadIndexFn *Next, StringRef Path,
                                     bool IgnoreEmpty) {
  if (!Current || Path != toRef(Current->Request.Index.Name)) {
    if (Next)
      return Next(Path, IgnoreEmpty);
    return createStringError("cannot find LLVM's index reader");
  }
  MemoryBufferRef Buffer = toRef(Current->Request.Index);
  if (IgnoreEmpty && Buffer.getBufferSize() == 0)
    return nullptr;
  auto Index = getModuleSummaryIndex(Buffer);
  if (Index)
    return Index;
  Current->Failure = toString(Index.takeError());
  return createStringError(Current->Failure);
}

static void reportAsm(const Module &M, Sink Report) {
#if LLVM_VERSION_MAJOR < 23
  if (!M.getModuleInlineAsm().empty())
    Report(M.getModuleInlineAsm());
#else
  // One piece for each set of properties.
  for (const Module::GlobalAsmFragment &Fragment : M.getModuleInlineAsm())
    Report(Fragment.Asm);
#endif
  for (const Function &F : M)
    for (const Instruction &I : instructions(F))
      if (auto *Call = dyn_cast<CallBase>(&I))
        if (auto *Asm = dyn_cast<InlineAsm>(Call->getCalledOperand()))
          if (!Asm->getAsmString().empty())
            Report(Asm->getAsmString());
}

namespace {

/// Has the nodes in a module that tell places in the sources (`!srcloc`) tell the
/// order in which they are met instead, until its end. Messages alone read what
/// they tell (clang, which has made a cookie of a SourceLocation); but two
/// instructions with different nodes are different, so that branch folding does not
/// merge them: that stays.
class NumberedPlaces {
  SmallVector<std::pair<Instruction *, MDNode *>, 0> Before;

public:
  /// What the nodes of the module told.
  SmallVector<uint64_t, 0> Places;

  explicit NumberedPlaces(Module &M) : Kind(kindIn(M)) {
    if (Kind == 0)
      return;
    DenseMap<MDNode *, MDNode *> Numbers;
    for (Function &F : M)
      for (Instruction &I : instructions(F))
        if (MDNode *Place = I.getMetadata(Kind)) {
          MDNode *&Number = Numbers[Place];
          if (!Number)
            Number = number(*Place, Numbers.size());
          Before.emplace_back(&I, Place);
          I.setMetadata(Kind, Number);
        }
  }
  NumberedPlaces(const NumberedPlaces &) = delete;
  ~NumberedPlaces() {
    for (auto [I, Place] : Before)
      I->setMetadata(Kind, Place);
  }

private:
  /// The kind of metadata that tells places, or 0, which is another one.
  unsigned Kind;

  /// The kind in the context of `M`, if it is known there: to ask for its number
  /// would make it known, and bitcode (-emit-llvm) lists all that are.
  static unsigned kindIn(const Module &M) {
    SmallVector<StringRef, 64> Names;
    M.getMDKindNames(Names);
    auto Found = find(Names, "srcloc");
    return Found == Names.end() ? 0 : Found - Names.begin();
  }

  /// A node that tells `Number`, for `Place`, whose operands go to Places.
  MDNode *number(const MDNode &Place, uint64_t Number) {
    Places.push_back(Place.getNumOperands());
    for (const MDOperand &Operand : Place.operands()) {
      auto *Cookie = mdconst::dyn_extract_or_null<ConstantInt>(Operand);
      Places.push_back(Cookie ? Cookie->getLimitedValue() : 0);
    }
    Type *I64 = Type::getInt64Ty(Place.getContext());
    return MDNode::get(Place.getContext(),
                       ConstantAsMetadata::get(ConstantInt::get(I64, Number)));
  }
};

} // namespace

/// Shows `M` to the job; false when its object is not needed.
static bool showImported(const BackltoCompileRequest &Request, Module &M) {
  reportAsm(M, Sink{Request.AsmText, Request.ImportedCtx});
  // What was said before this point depends on more than the imported module, and
  // would be lost, or said again, with an object that is found by it.
  if (!Request.WantsBitcode || Current->Errs.hasSpoken() || Current->hasPrinted())
    return Request.Imported(Request.ImportedCtx, nullptr, 0, nullptr, 0);
  SmallVector<char, 0> Bitcode;
  SmallVector<uint64_t, 0> Places;
  {
    NumberedPlaces Numbered(M);
    // Without a symbol table, for which LLVM would assemble the module's assembly.
    BitcodeWriter Writer(Bitcode);
    Writer.writeModule(M, /*ShouldPreserveUseListOrder=*/true);
    Writer.writeStrtab();
    Places = std::move(Numbered.Places);
  }
  return Request.Imported(Request.ImportedCtx,
                          reinterpret_cast<const uint8_t *>(Bitcode.data()),
                          Bitcode.size(), Places.data(), Places.size());
}

/// Tells the caller which functions `M` defines.
static void reportFunctions(const BackltoCompileRequest &Request,
                            const Module &M) {
  Sink Report{Request.Functions, Request.FunctionsCtx};
  for (const Function &F : M)
    if (!F.isDeclaration())
      Report(F.getName());
  Report("");
}

static uint64_t threadNanoseconds() {
  timespec Now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &Now);
  return uint64_t(Now.tv_sec) * 1000000000 + uint64_t(Now.tv_nsec);
}

static Expected<seams::ModuleMap> openImports(const BackltoCompileRequest &Request) {
  seams::ModuleMap Map;
  for (const BackltoBuffer &Import :
       ArrayRef(Request.Imports, Request.ImportCount)) {
    auto Module = lto::findThinLTOModule(toRef(Import));
    if (!Module)
      return createStringError("cannot import from '" + toRef(Import.Name) +
                               "': " + toString(Module.takeError()));
    Map.insert({toRef(Import.Name), *Module});
  }
  return Map;
}

/// The modules that `List` imports from.
static SmallVector<StringRef, 0>
sources(const FunctionImporter::ImportMapTy &List) {
#if LLVM_VERSION_MAJOR < 20
  // The list is a map from their names.
  return SmallVector<StringRef, 0>(make_first_range(List));
#else
  return List.getSourceModules();
#endif
}

Error seams::thinBackend(const lto::Config &C,
                         const FunctionImporter::ImportMapTy &ImportList,
                         ModuleMap *Map,
                         function_ref<Error(ModuleMap *)> Forward) {
  if (!Current || Map)
    return Forward(Map);

  // clang would print the error and report success; the job remembers it, and
  // fails because no object was written.
  auto Remember = [](Error E) {
    Current->Failure = toString(std::move(E));
    return Error::success();
  };
  auto Imports = openImports(Current->Request);
  if (!Imports)
    return Remember(Imports.takeError());
  // LLVM takes it for granted that the map has every module of the list.
  for (StringRef Source : sources(ImportList))
    if (!Imports->count(Source))
      return Remember(createStringError("no bitcode given for import '" +
                                        Source + "'"));
  const BackltoCompileRequest &Request = Current->Request;
  // clang's own Config, which it fills in for this call alone.
  auto &Hooked = const_cast<lto::Config &>(C);
  if (Request.Functions) {
    auto Before = std::move(Hooked.PreCodeGenModuleHook);
    Hooked.PreCodeGenModuleHook = [&Request, Before](unsigned Task,
                                                     const Module &M) {
      reportFunctions(Request, M);
      return !Before || Before(Task, M);
    };
  }
  if (Request.Imported) {
    auto Before = std::move(Hooked.PostImportModuleHook);
    Hooked.PostImportModuleHook = [&Request, Before](unsigned Task,
                                                      const Module &M) {
      if (Before && !Before(Task, M))
        return false;
      uint64_t Start = threadNanoseconds();
      // It is the one that thinBackend was given.
      bool Wanted = showImported(Request, const_cast<Module &>(M));
      Current->ShowNanoseconds = threadNanoseconds() - Start;
      if (Wanted)
        return true;
      Current->Stopped = true;
      return false;
    };
  }
  uint64_t Start = threadNanoseconds();
  Error E = Forward(&*Imports);
  Current->BackendNanoseconds +=
      threadNanoseconds() - Start - Current->ShowNanoseconds;
  if (E)
    return Remember(std::move(E));
  return Error::success();
}
