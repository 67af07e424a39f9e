//===- Bitcode.cpp - What bitcode files and summary indexes say -----------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Internal.h"
#include "KeptErrors.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/Bitcode/LLVMBitCodes.h"
#include "llvm/Bitstream/BitstreamReader.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/ModuleSummaryIndex.h"
#include "llvm/Object/IRObjectFile.h"
#include "llvm/Support/SHA1.h"
#include "llvm/TargetParser/Triple.h"

using namespace llvm;
using namespace backlto;

void BackltoArchName(BackltoSlice Text, BackltoSink Out, void *Ctx) {
  // A triple that LLVM cannot read has no architecture, for which there is a name.
  Sink Nobody{[](void *, const char *, size_t) {}, nullptr};
  Triple::ArchType Arch = Triple::UnknownArch;
  contained(Nobody, [&] {
    Arch = Triple(toRef(Text)).getArch();
    return BackltoStatusOk;
  });
  if (Arch == Triple::thumb)
    Arch = Triple::arm;
  Sink{Out, Ctx}(Triple::getArchTypeName(Arch));
}

struct BackltoIndex {
  std::unique_ptr<ModuleSummaryIndex> Index;
};

namespace {

/// The hash that a module carries, and the one that it has.
struct ModuleHashes {
  std::array<uint32_t, 5> Recorded;
  std::array<uint32_t, 5> Actual;
};

} // namespace

/// Hashes the names that `Record`, a module-level record of kind `Code`, has in
/// the string table. They are pairs of an offset and a size; the indices are
/// those of llvm/lib/Bitcode/Writer/BitcodeWriter.cpp, where addToStrtab hashes
/// each name as it is written.
static void hashNames(SHA1 &Hasher, unsigned Code, ArrayRef<uint64_t> Record,
                      StringRef Strtab) {
  auto HashAt = [&](size_t Index) {
    if (Index + 1 < Record.size())
      Hasher.update(Strtab.substr(Record[Index], Record[Index + 1]));
  };
  switch (Code) {
  case bitc::MODULE_CODE_COMDAT:
    return HashAt(0);
  case bitc::MODULE_CODE_GLOBALVAR:
    HashAt(0);
    return HashAt(16); // The partition, nearly always empty; so below.
  case bitc::MODULE_CODE_FUNCTION:
    HashAt(0);
    return HashAt(19);
  case bitc::MODULE_CODE_ALIAS:
    HashAt(0);
    return HashAt(11);
  case bitc::MODULE_CODE_IFUNC:
    HashAt(0);
    return HashAt(8);
  }
}

/// Finds the hash that `Module` carries, if any, and computes the one that it
/// has: over the names it puts into the string table, then over the whole words
/// of the module block before the hash (ModuleBitcodeWriter::writeModuleHash).
static Expected<std::optional<ModuleHashes>> hashModule(BitcodeModule &Module) {
  StringRef Buffer = Module.getBuffer();
  BitstreamCursor Stream(Buffer);
  SmallVector<uint64_t, 32> Record;
  SHA1 Hasher;
  while (!Stream.AtEndOfStream()) {
    Expected<BitstreamEntry> Block = Stream.advance();
    if (!Block)
      return Block.takeError();
    if (Block->Kind != BitstreamEntry::SubBlock)
      return createStringError("malformed top level");
    if (Block->ID != bitc::MODULE_BLOCK_ID) {
      if (Error E = Stream.SkipBlock())
        return E;
      continue;
    }
    if (Error E = Stream.EnterSubBlock(bitc::MODULE_BLOCK_ID))
      return E;
    size_t Start = Stream.getCurrentByteNo();
    while (true) {
      Expected<BitstreamEntry> Entry = Stream.advanceSkippingSubblocks(
          BitstreamCursor::AF_DontPopBlockAtEnd);
      if (!Entry)
        return Entry.takeError();
      if (Entry->Kind == BitstreamEntry::Error)
        return createStringError("malformed module block");
      if (Entry->Kind == BitstreamEntry::EndBlock)
        return std::nullopt;
      // The record starts with the abbreviation ID that was just read.
      size_t Position = Stream.GetCurrentBitNo() - Stream.getAbbrevIDWidth();
      Record.clear();
      Expected<unsigned> Code = Stream.readRecord(Entry->ID, Record);
      if (!Code)
        return Code.takeError();
      if (*Code != bitc::MODULE_CODE_HASH) {
        hashNames(Hasher, *Code, Record, Module.getStrtab());
        continue;
      }
      if (Record.size() != 5)
        return createStringError("malformed module hash");
      Hasher.update(Buffer.slice(Start, Position / 32 * 4));
      std::array<uint8_t, 20> Result = Hasher.result();
      ModuleHashes Hashes;
      for (unsigned I = 0; I != 5; ++I) {
        Hashes.Recorded[I] = uint32_t(Record[I]);
        Hashes.Actual[I] = support::endian::read32be(&Result[I * 4]);
      }
      return Hashes;
    }
  }
  return std::nullopt;
}

/// The module of `Buffer` that ThinLTO backends compile: the first that has a
/// ThinLTO summary (clang::FindThinLTOModule), if there is one.
static Expected<std::optional<BitcodeModule>> thinModule(MemoryBufferRef Buffer) {
  auto Modules = getBitcodeModuleList(Buffer);
  if (!Modules)
    return Modules.takeError();
  for (BitcodeModule &Module : *Modules) {
    auto LTO = Module.getLTOInfo();
    if (!LTO)
      return LTO.takeError();
    if (LTO->IsThinLTO)
      return Module;
  }
  return std::nullopt;
}

static Error noThinModule() {
  return createStringError("it has no ThinLTO module");
}

static Error readModuleInfo(MemoryBufferRef Buffer, BackltoModuleInfo &Info,
                            const Sink &Producer, const Sink &Triple) {
  auto ProducerText = getBitcodeProducerString(Buffer);
  if (!ProducerText)
    return ProducerText.takeError();
  Producer(*ProducerText);
  auto TripleText = getBitcodeTargetTriple(Buffer);
  if (!TripleText)
    return TripleText.takeError();
  Triple(*TripleText);

  auto Module = thinModule(Buffer);
  if (!Module)
    return Module.takeError();
  if (!*Module)
    return Error::success();
  Info.HasThinLTO = true;
  auto Hashes = hashModule(**Module);
  if (!Hashes)
    return Hashes.takeError();
  if (*Hashes) {
    Info.HasHash = true;
    Info.HashMatches = (*Hashes)->Recorded == (*Hashes)->Actual;
    llvm::copy((*Hashes)->Recorded, Info.Hash);
  }
  return Error::success();
}

BackltoStatus BackltoReadModuleInfo(const BackltoBuffer *Buffer,
                                    BackltoModuleInfo *Info,
                                    BackltoSink Producer, void *ProducerCtx,
                                    BackltoSink Triple, void *TripleCtx,
                                    BackltoSink ErrorOut, void *ErrorCtx) {
  *Info = {};
  Sink Out{ErrorOut, ErrorCtx};
  return contained(Out, [&] {
    if (Error E = readModuleInfo(toRef(*Buffer), *Info,
                                 Sink{Producer, ProducerCtx},
                                 Sink{Triple, TripleCtx}))
      return fail(Out, std::move(E));
    return BackltoStatusOk;
  });
}

BackltoIndex *BackltoReadIndex(const BackltoBuffer *Buffer,
                               BackltoSink ErrorOut, void *ErrorCtx) {
  Sink Out{ErrorOut, ErrorCtx};
  BackltoIndex *Result = nullptr;
  contained(Out, [&] {
    auto Index = getModuleSummaryIndex(toRef(*Buffer));
    if (!Index)
      return fail(Out, Index.takeError());
    Result = new BackltoIndex{std::move(*Index)};
    return BackltoStatusOk;
  });
  return Result;
}

/// The summaries of one symbol.
static ArrayRef<std::unique_ptr<GlobalValueSummary>>
summaries(const GlobalValueSummaryInfo &Symbol) {
#if LLVM_VERSION_MAJOR < 22
  return Symbol.SummaryList;
#else
  return Symbol.getSummaryList();
#endif
}

void BackltoFreeIndex(BackltoIndex *I) { delete I; }

bool BackltoIndexSkipsModule(const BackltoIndex *I) {
  return I->Index->skipModuleByDistributedBackend();
}

uint64_t BackltoIndexInstructions(const BackltoIndex *I) {
  uint64_t Count = 0;
  for (const auto &Global : *I->Index)
    for (const auto &Summary : summaries(Global.second))
      if (const auto *Function = dyn_cast<FunctionSummary>(Summary.get()))
        Count += Function->instCount();
  return Count;
}

void BackltoIndexModules(const BackltoIndex *I, BackltoModuleVisitor Visit,
                         void *Ctx) {
  for (const auto &Entry : I->Index->modulePaths())
    Visit(Ctx, Entry.first().data(), Entry.first().size(),
          Entry.second.data());
}

static Error definedSymbols(MemoryBufferRef Buffer, const Sink &Each) {
  LLVMContext Context;
  KeptErrors Errors(Context);
  Expected<std::unique_ptr<object::IRObjectFile>> File =
      object::IRObjectFile::create(Buffer, Context);
  if (!File)
    return File.takeError();
  if (Error E = Errors.take())
    return E;
  std::string Name;
  for (const object::BasicSymbolRef &S : (*File)->symbols()) {
    auto Flags = S.getFlags();
    if (!Flags)
      return Flags.takeError();
    if (*Flags & object::BasicSymbolRef::SF_Undefined)
      continue;
    Name.clear();
    raw_string_ostream OS(Name);
    if (Error E = S.printName(OS))
      return E;
    Each(Name);
  }
  return Error::success();
}

BackltoStatus BackltoDefinedSymbols(const BackltoBuffer *Buffer,
                                    BackltoSink Symbol, void *SymbolCtx,
                                    BackltoSink ErrorOut, void *ErrorCtx) {
  Sink Out{ErrorOut, ErrorCtx};
  return contained(Out, [&] {
    if (Error E = definedSymbols(toRef(*Buffer), Sink{Symbol, SymbolCtx}))
      return fail(Out, std::move(E));
    return BackltoStatusOk;
  });
}

static Expected<bool> isPositionIndependent(MemoryBufferRef Buffer) {
  auto Bitcode = thinModule(Buffer);
  if (!Bitcode)
    return Bitcode.takeError();
  if (!*Bitcode)
    return noThinModule();
  LLVMContext Context;
  KeptErrors Errors(Context);
  auto Module = (*Bitcode)->getLazyModule(Context, /*ShouldLazyLoadMetadata=*/true,
                                       /*IsImporting=*/false);
  if (!Module)
    return Module.takeError();
  if (Error E = (*Module)->materializeMetadata())
    return E;
  if (Error E = Errors.take())
    return E;
  return (*Module)->getPICLevel() != PICLevel::NotPIC;
}

static Expected<bool> promotesVariable(MemoryBufferRef Buffer,
                                       MemoryBufferRef IndexBuffer) {
  auto Bitcode = thinModule(Buffer);
  if (!Bitcode)
    return Bitcode.takeError();
  if (!*Bitcode)
    return noThinModule();
  auto Own = (*Bitcode)->getSummary();
  if (!Own)
    return Own.takeError();
  auto Index = getModuleSummaryIndex(IndexBuffer);
  if (!Index)
    return Index.takeError();
  auto IsLocal = [](const std::unique_ptr<GlobalValueSummary> &Summary) {
    return GlobalValue::isLocalLinkage(Summary->linkage());
  };
  for (const auto &[GUID, Global] : **Own)
    for (const auto &Summary : summaries(Global)) {
      const auto *Variable = dyn_cast<GlobalVarSummary>(Summary.get());
      if (!Variable || Variable->isConstant() || !IsLocal(Summary))
        continue;
      if (ValueInfo Linked = (*Index)->getValueInfo(GUID))
        if (!llvm::all_of(Linked.getSummaryList(), IsLocal))
          return true;
    }
  return false;
}

/// Gives what `Found` has to `Result`, or its error to `Out`.
static BackltoStatus give(Expected<bool> Found, bool *Result, const Sink &Out) {
  if (!Found)
    return fail(Out, Found.takeError());
  *Result = *Found;
  return BackltoStatusOk;
}

BackltoStatus BackltoIsPositionIndependent(const BackltoBuffer *Buffer,
                                           bool *Result, BackltoSink ErrorOut,
                                           void *ErrorCtx) {
  Sink Out{ErrorOut, ErrorCtx};
  return contained(Out, [&] {
    return give(isPositionIndependent(toRef(*Buffer)), Result, Out);
  });
}

BackltoStatus BackltoPromotesVariable(const BackltoBuffer *Module,
                                      const BackltoBuffer *Index, bool *Result,
                                      BackltoSink ErrorOut, void *ErrorCtx) {
  Sink Out{ErrorOut, ErrorCtx};
  return contained(Out, [&] {
    return give(promotesVariable(toRef(*Module), toRef(*Index)), Result, Out);
  });
}
