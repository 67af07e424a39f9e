//===- Remainder.cpp - What stages after importing may read of an index ---===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// lto::thinBackend (llvm/lib/LTO/LTOBackend.cpp) hands the index on to the
// optimiser and to code generation once the imports are in. There these read
// it: WholeProgramDevirt and LowerTypeTests (type identifiers, CFI functions,
// index flags), MemProfContextDisambiguation (call sites, allocations, stack
// ids), and StackSafetyAnalysis (parameter accesses, and which summaries of a
// name are live, local, or of which linkage). What none of them can have any
// use for is named below; all else is part of what is left, as the records of
// llvm/include/llvm/Bitcode/LLVMBitCodes.h hold it, and an index with anything
// that is not named here has no remainder.
//
//===----------------------------------------------------------------------===//

#include "Internal.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/Bitcode/LLVMBitCodes.h"
#include "llvm/Bitstream/BitstreamReader.h"
#include "llvm/Support/Endian.h"
#include <map>

using namespace llvm;
using namespace backlto;

namespace {

/// The version of the summary's records that the table below is of. LLVM counts
/// it up when the meaning of a record changes.
#if LLVM_VERSION_MAJOR < 20
constexpr uint64_t KnownVersion = 10;
#elif LLVM_VERSION_MAJOR < 23
constexpr uint64_t KnownVersion = 12;
#else
// Since 13, records of MemProf follow the summary that they belong to.
constexpr uint64_t KnownVersion = 14;
#endif

/// What a record of the summary is to the stages after importing.
enum class Use {
  /// Its values are those of the index as a whole.
  Whole,
  /// Read before: when functions are imported, or before that.
  Importing,
  /// Gives a number to a GUID.
  Number,
  /// The summary of a symbol.
  Function,
  Variable,
  Alias,
  /// Belongs to the summary that follows, or to the one before.
  OfNext,
  OfLast,
  /// Holds such numbers in places of its own, or order counts: nothing of the
  /// index may be left out or moved.
  All,
  Unknown,
};

Use useOf(unsigned Code) {
  switch (Code) {
  case bitc::FS_VERSION:
  case bitc::FS_FLAGS:
    return Use::Whole;
  case bitc::FS_BLOCK_COUNT:
    // Module::setPartialSampleProfileRatio, the first thing that thinBackend
    // does; the ratio is in the module then.
    return Use::Importing;
  case bitc::FS_VALUE_GUID:
    return Use::Number;
  case bitc::FS_COMBINED_PROFILE:
    return Use::Function;
  case bitc::FS_COMBINED_GLOBALVAR_INIT_REFS:
    return Use::Variable;
  case bitc::FS_COMBINED_ALIAS:
    return Use::Alias;
  case bitc::FS_COMBINED_ORIGINAL_NAME:
    return Use::OfLast;
  case bitc::FS_TYPE_TESTS:
  case bitc::FS_TYPE_TEST_ASSUME_VCALLS:
  case bitc::FS_TYPE_CHECKED_LOAD_VCALLS:
  case bitc::FS_TYPE_TEST_ASSUME_CONST_VCALL:
  case bitc::FS_TYPE_CHECKED_LOAD_CONST_VCALL:
    return Use::OfNext;
  case bitc::FS_PARAM_ACCESS:
  case bitc::FS_CFI_FUNCTION_DEFS:
  case bitc::FS_CFI_FUNCTION_DECLS:
  case bitc::FS_TYPE_ID:
  case bitc::FS_TYPE_ID_METADATA:
  case bitc::FS_COMBINED_CALLSITE_INFO:
  case bitc::FS_COMBINED_ALLOC_INFO:
  case bitc::FS_STACK_IDS:
#if LLVM_VERSION_MAJOR >= 20
  case bitc::FS_ALLOC_CONTEXT_IDS:
  case bitc::FS_CONTEXT_RADIX_TREE_ARRAY:
#endif
#if LLVM_VERSION_MAJOR >= 21
  case bitc::FS_COMBINED_ALLOC_INFO_NO_CONTEXT:
#endif
    return Use::All;
  default:
    return Use::Unknown;
  }
}

/// Writes values so that no two lists of records give the same bytes.
class Values {
  std::string Bytes;

public:
  void add(uint64_t Value) {
    char Word[8];
    support::endian::write64le(Word, Value);
    Bytes.append(Word, sizeof Word);
  }
  void add(ArrayRef<uint64_t> Record) {
    add(Record.size());
    for (uint64_t Value : Record)
      add(Value);
  }
  void add(StringRef Text) {
    add(Text.size());
    Bytes.append(Text.begin(), Text.end());
  }
  StringRef text() const { return Bytes; }
};

/// One pass over an index.
class Reader {
  BitstreamCursor Stream;
  StringRef Strtab;
  StringRef Own;
  /// Everything but what is Importing, and the modules' hashes.
  Values Complete;
  bool NeedsAll = false;
  /// What stays the same when symbols and modules are numbered anew.
  Values Whole;
  DenseMap<uint64_t, uint64_t> GUIDs;
  std::optional<uint64_t> OwnNumber;
  /// The summaries by symbol, those of one in the order of the index.
  std::multimap<uint64_t, Values> Summaries;
  std::multimap<uint64_t, Values>::iterator Last = Summaries.end();
  Values OfNext;

  /// The summary of kind `Code` for value `Record[0]` of module `Record[1]`, of
  /// which `Kept` counts.
  bool addSummary(unsigned Code, ArrayRef<uint64_t> Record,
                  ArrayRef<uint64_t> Kept) {
    auto GUID = GUIDs.find(Record[0]);
    if (GUID == GUIDs.end())
      return false;
    Values Summary;
    Summary.add(Code);
    // findCalleeFunctionSummary of StackSafetyAnalysis.cpp tells the module's own
    // symbols from those of others.
    Summary.add(uint64_t(Record[1] == OwnNumber));
    Summary.add(Kept);
    Summary.add(OfNext.text());
    OfNext = Values();
    Last = Summaries.emplace(GUID->second, std::move(Summary));
    return true;
  }

  bool addRecord(unsigned Code, ArrayRef<uint64_t> Record) {
    Use U = useOf(Code);
    if (U == Use::Importing)
      return true;
    Complete.add(Code);
    Complete.add(Record);
    switch (U) {
    case Use::Importing:
    case Use::Unknown:
      return false;
    case Use::Whole:
      Whole.add(Code);
      Whole.add(Record);
      return Code != bitc::FS_VERSION ||
             (Record.size() == 1 && Record[0] == KnownVersion);
    case Use::Number:
#if LLVM_VERSION_MAJOR < 20
      if (Record.size() != 2)
        return false;
      return GUIDs.try_emplace(Record[0], Record[1]).second;
#else
      // In halves, for which there is an abbreviation.
      if (Record.size() != 3)
        return false;
      return GUIDs.try_emplace(Record[0], Record[1] << 32 | Record[2]).second;
#endif
    case Use::Function:
      // [valueid, modid, flags, instcount, fflags, 0, numrefs, rorefcnt,
      // worefcnt, references, calls]: flags of both kinds count.
      return Record.size() >= 9 &&
             addSummary(Code, Record, {Record[2], Record[4]});
    case Use::Variable:
      // [valueid, modid, flags, varflags, references]
      return Record.size() >= 4 &&
             addSummary(Code, Record, {Record[2], Record[3]});
    case Use::Alias: {
      // [valueid, modid, flags, valueid]
      if (Record.size() != 4)
        return false;
      auto Aliasee = GUIDs.find(Record[3]);
      return Aliasee != GUIDs.end() &&
             addSummary(Code, Record, {Record[2], Aliasee->second});
    }
    case Use::OfNext:
      OfNext.add(Code);
      OfNext.add(Record);
      return true;
    case Use::OfLast:
      if (Last == Summaries.end())
        return false;
      Last->second.add(Code);
      Last->second.add(Record);
      return true;
    case Use::All:
      NeedsAll = true;
      return true;
    }
    return false;
  }

  bool addModule(unsigned Code, ArrayRef<uint64_t> Record) {
    // FunctionImport reads it, for the names of promoted symbols.
    if (Code == bitc::MST_CODE_HASH)
      return true;
    if (Code != bitc::MST_CODE_ENTRY || Record.empty())
      return false;
    std::string Path(Record.begin() + 1, Record.end());
    if (Path == Own)
      OwnNumber = Record[0];
    Complete.add(Record[0]);
    Complete.add(StringRef(Path));
    return true;
  }

  /// Reads the block that the cursor has just seen, with `Add` for its records
  /// and `Enter` for blocks in it.
  template <typename AddFn, typename EnterFn>
  bool readBlock(unsigned ID, AddFn Add, EnterFn Enter) {
    if (errorToBool(Stream.EnterSubBlock(ID)))
      return false;
    SmallVector<uint64_t, 64> Record;
    while (true) {
      Expected<BitstreamEntry> Entry = Stream.advance();
      if (!Entry)
        return consumeError(Entry.takeError()), false;
      switch (Entry->Kind) {
      case BitstreamEntry::Error:
        return false;
      case BitstreamEntry::EndBlock:
        return true;
      case BitstreamEntry::SubBlock:
        if (!Enter(Entry->ID))
          return false;
        continue;
      case BitstreamEntry::Record:
        break;
      }
      Record.clear();
      StringRef Blob;
      Expected<unsigned> Code = Stream.readRecord(Entry->ID, Record, &Blob);
      if (!Code)
        return consumeError(Code.takeError()), false;
      if (!Blob.empty() || !Add(*Code, Record))
        return false;
    }
  }

  bool readModule() {
    auto NoBlock = [](unsigned) { return false; };
    return readBlock(
        bitc::MODULE_BLOCK_ID,
        [&](unsigned Code, ArrayRef<uint64_t> Record) {
          Whole.add(Code);
          Whole.add(Record);
          return Code == bitc::MODULE_CODE_VERSION;
        },
        [&](unsigned ID) {
          switch (ID) {
          case bitc::MODULE_STRTAB_BLOCK_ID:
            return readBlock(
                ID, [&](unsigned C, ArrayRef<uint64_t> R) { return addModule(C, R); },
                NoBlock);
          case bitc::GLOBALVAL_SUMMARY_BLOCK_ID:
            return readBlock(
                ID, [&](unsigned C, ArrayRef<uint64_t> R) { return addRecord(C, R); },
                NoBlock);
          default:
            return false;
          }
        });
  }

public:
  Reader(BitcodeModule &Module, StringRef Own)
      : Stream(Module.getBuffer()), Strtab(Module.getStrtab()), Own(Own) {}

  bool read() {
    while (!Stream.AtEndOfStream()) {
      Expected<BitstreamEntry> Block = Stream.advance();
      if (!Block)
        return consumeError(Block.takeError()), false;
      if (Block->Kind != BitstreamEntry::SubBlock)
        return false;
      if (Block->ID == bitc::MODULE_BLOCK_ID) {
        if (!readModule())
          return false;
      } else if (Block->ID != bitc::IDENTIFICATION_BLOCK_ID ||
                 errorToBool(Stream.SkipBlock())) {
        return false;
      }
    }
    return OfNext.text().empty();
  }

  std::string remainder() const {
    Values Result;
    Result.add(Whole.text());
    if (NeedsAll) {
      Result.add(Complete.text());
      Result.add(Strtab);
      return Result.text().str();
    }
    for (const auto &[GUID, Summary] : Summaries) {
      Result.add(GUID);
      Result.add(Summary.text());
    }
    return Result.text().str();
  }
};

} // namespace

BackltoStatus BackltoIndexRemainder(const BackltoBuffer *Index,
                                    BackltoSlice Module, BackltoSink Remainder,
                                    void *RemainderCtx, BackltoSink ErrorOut,
                                    void *ErrorCtx) {
  Sink Out{ErrorOut, ErrorCtx};
  return contained(Out, [&] {
    auto Modules = getBitcodeModuleList(toRef(*Index));
    if (!Modules)
      return fail(Out, Modules.takeError());
    if (Modules->size() != 1) {
      Out("it is more than an index");
      return BackltoStatusError;
    }
    Reader Read(Modules->front(), toRef(Module));
    if (!Read.read()) {
      Out("it holds what backlto does not know");
      return BackltoStatusError;
    }
    Sink{Remainder, RemainderCtx}(Read.remainder());
    return BackltoStatusOk;
  });
}
