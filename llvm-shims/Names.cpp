//===- Names.cpp - The names of modules in an index -----------------------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// LLVM's writer of indexes takes a path as a list of signed characters
// (IndexBitcodeWriter::writeModStrings in llvm/lib/Bitcode/Writer). One above
// 127 is extended to 32 bits, and BitstreamWriter::Emit, told to write eight of
// them, does not cut off the rest: it sets bits that belong to what follows. So
// an index cannot be used, not by clang either, when a path is not ASCII; and a
// linker that compiles in process never sees that. What was written there is
// known exactly for a given path, so it is found among the modules of the link,
// and what should be there is put in its place.
//
//===----------------------------------------------------------------------===//

#include "Internal.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/Bitcode/LLVMBitCodes.h"
#include "llvm/Bitstream/BitstreamReader.h"
#include "llvm/Support/Endian.h"

using namespace llvm;
using namespace backlto;

namespace {

constexpr unsigned WordBits = 32;

/// A path in the table of modules, and the hash after it.
struct Entry {
  /// Where its characters start, in bits.
  uint64_t Start = 0;
  size_t Length = 0;
  /// Where the words of the hash start.
  uint64_t Hash = 0;
};

class Bits {
  std::string Bytes;

public:
  explicit Bits(StringRef Bytes) : Bytes(Bytes) {}
  bool get(uint64_t At) const { return Bytes[At / 8] >> (At % 8) & 1; }
  void set(uint64_t At, bool To) {
    char Mask = char(1 << (At % 8));
    Bytes[At / 8] = To ? Bytes[At / 8] | Mask : Bytes[At / 8] & ~Mask;
  }
  StringRef bytes() const { return Bytes; }
};

/// The bits from `E.Start` on that writing `Path` there has set by mistake.
BitVector spoiltBits(const Entry &E, StringRef Path) {
  BitVector Spoilt(E.Length * 8 + WordBits);
  for (size_t I = 0; I != Path.size(); ++I) {
    if (isASCII(Path[I]))
      continue;
    // They fill the word; and as much of the next as was full in this, if the
    // character reached its end.
    uint64_t At = E.Start + I * 8, InWord = At % WordBits;
    uint64_t End = InWord + 8 < WordBits ? At - InWord + WordBits : At + WordBits;
    Spoilt.set(unsigned(At + 8 - E.Start), unsigned(End - E.Start));
  }
  return Spoilt;
}

/// Calls `Each` with every bit that should be there for `Module`, and whether it
/// has been spoilt.
template <typename Fn>
void eachBit(const Entry &E, const BackltoNamedModule &Module, Fn Each) {
  StringRef Path = toRef(Module.Path);
  BitVector Spoilt = spoiltBits(E, Path);
  auto IsSpoilt = [&](uint64_t At) {
    return At - E.Start < Spoilt.size() && Spoilt[unsigned(At - E.Start)];
  };
  for (size_t I = 0; I != Path.size() * 8; ++I)
    Each(E.Start + I, uint8_t(Path[I / 8]) >> (I % 8) & 1, IsSpoilt(E.Start + I));
  for (size_t I = 0; I != 5 * WordBits; ++I)
    Each(E.Hash + I, Module.Hash[I / WordBits] >> (I % WordBits) & 1,
         IsSpoilt(E.Hash + I));
}

/// Whether this is what LLVM writes for `Module`.
bool isOf(const Bits &Index, const Entry &E, const BackltoNamedModule &Module) {
  if (Module.Path.Len != E.Length)
    return false;
  bool Same = true;
  eachBit(E, Module, [&](uint64_t At, bool Bit, bool Spoilt) {
    Same &= Index.get(At) == (Bit || Spoilt);
  });
  return Same;
}

/// Finds the paths of the index that are not ASCII.
class Finder {
  BitstreamCursor Stream;
  std::vector<Entry> Found;

  Error readTable() {
    SmallVector<uint64_t, 64> Record;
    std::optional<Entry> Last;
    while (true) {
      Expected<BitstreamEntry> Next = Stream.advanceSkippingSubblocks();
      if (!Next)
        return Next.takeError();
      if (Next->Kind != BitstreamEntry::Record)
        return Error::success();
      Record.clear();
      Expected<unsigned> Code = Stream.readRecord(Next->ID, Record);
      if (!Code)
        return Code.takeError();
      uint64_t End = Stream.GetCurrentBitNo();
      if (*Code == bitc::MST_CODE_HASH && Last && Record.size() == 5) {
        Last->Hash = End - 5 * WordBits;
        Found.push_back(*Last);
      }
      Last.reset();
      // The characters of such a path have eight bits each.
      if (*Code == bitc::MST_CODE_ENTRY && !Record.empty() &&
          any_of(drop_begin(Record), [](uint64_t C) { return C > 127; })) {
        Last.emplace();
        Last->Length = Record.size() - 1;
        Last->Start = End - Last->Length * 8;
      }
    }
  }

public:
  explicit Finder(StringRef Index) : Stream(Index) {}

  /// Fails where the index cannot be read on; what was found before counts.
  Error read() {
    if (Expected<SimpleBitstreamCursor::word_t> Magic = Stream.Read(WordBits); !Magic)
      return Magic.takeError();
    while (!Stream.AtEndOfStream()) {
      Expected<BitstreamEntry> Next = Stream.advance();
      if (!Next)
        return Next.takeError();
      if (Next->Kind != BitstreamEntry::SubBlock) {
        if (Next->Kind != BitstreamEntry::Record)
          continue;
        if (Expected<unsigned> Skipped = Stream.skipRecord(Next->ID); !Skipped)
          return Skipped.takeError();
        continue;
      }
      if (Next->ID == bitc::MODULE_BLOCK_ID) {
        if (Error E = Stream.EnterSubBlock(Next->ID))
          return E;
      } else if (Next->ID != bitc::MODULE_STRTAB_BLOCK_ID) {
        if (Error E = Stream.SkipBlock())
          return E;
      } else {
        if (Error E = Stream.EnterSubBlock(Next->ID))
          return E;
        return readTable();
      }
    }
    return Error::success();
  }

  ArrayRef<Entry> found() const { return Found; }
};

/// Writes down all that an index says, but for the names of modules.
class Nameless {
  BitstreamCursor Stream;
  std::optional<BitstreamBlockInfo> BlockInfo;
  std::vector<std::string> Paths;
  std::string Out;

  void add(uint64_t Number) {
    char Bytes[8];
    support::endian::write64le(Bytes, Number);
    Out.append(Bytes, sizeof(Bytes));
  }

  void add(StringRef Text) {
    add(Text.size());
    Out += Text;
  }

  Error addRecord(unsigned Block, unsigned Abbreviation) {
    SmallVector<uint64_t, 64> Record;
    StringRef Blob;
    Expected<unsigned> Code = Stream.readRecord(Abbreviation, Record, &Blob);
    if (!Code)
      return Code.takeError();
    if (Block == bitc::MODULE_STRTAB_BLOCK_ID && *Code == bitc::MST_CODE_ENTRY &&
        !Record.empty()) {
      Paths.emplace_back(Record.begin() + 1, Record.end());
      Record.truncate(1);
    }
    add(*Code);
    add(Record.size());
    for (uint64_t Number : Record)
      add(Number);
    add(Blob);
    return Error::success();
  }

  /// Reads up to the end of the block, or of the stream at the top.
  Error addBlock(unsigned Block, bool IsTop) {
    while (!IsTop || !Stream.AtEndOfStream()) {
      Expected<BitstreamEntry> Next = Stream.advance();
      if (!Next)
        return Next.takeError();
      switch (Next->Kind) {
      case BitstreamEntry::Error:
        return createStringError("malformed block");
      case BitstreamEntry::EndBlock:
        add(StringRef("end"));
        return Error::success();
      case BitstreamEntry::Record:
        if (Error E = addRecord(Block, Next->ID))
          return E;
        break;
      case BitstreamEntry::SubBlock:
        if (Next->ID == bitc::BLOCKINFO_BLOCK_ID) {
          // How records are written, not what they say.
          auto Info = Stream.ReadBlockInfoBlock();
          if (!Info)
            return Info.takeError();
          BlockInfo = std::move(*Info);
          if (BlockInfo)
            Stream.setBlockInfo(&*BlockInfo);
          break;
        }
        add(StringRef("block"));
        add(Next->ID);
        if (Error E = Stream.EnterSubBlock(Next->ID))
          return E;
        if (Error E = addBlock(Next->ID, /*IsTop=*/false))
          return E;
        break;
      }
    }
    return Error::success();
  }

public:
  explicit Nameless(StringRef Index) : Stream(Index) {}

  Expected<std::string> read() {
    if (Expected<SimpleBitstreamCursor::word_t> Magic = Stream.Read(WordBits); !Magic)
      return Magic.takeError();
    if (Error E = addBlock(0, /*IsTop=*/true))
      return E;
    // LLVM imports from modules in the order of their names.
    std::vector<std::string> Sorted = Paths;
    llvm::sort(Sorted);
    for (const std::string &Path : Paths)
      add(llvm::lower_bound(Sorted, Path) - Sorted.begin());
    return std::move(Out);
  }
};

} // namespace

BackltoStatus BackltoIndexWithoutNames(const BackltoBuffer *Index,
                                       BackltoSink Rest, void *RestCtx,
                                       BackltoSink ErrorOut, void *ErrorCtx) {
  Sink Out{ErrorOut, ErrorCtx};
  return contained(Out, [&] {
    Expected<std::string> Text = Nameless(toRef(Index->Bytes)).read();
    if (!Text)
      return fail(Out, Text.takeError());
    Sink{Rest, RestCtx}(*Text);
    return BackltoStatusOk;
  });
}

BackltoStatus BackltoRepairIndex(const BackltoBuffer *Index,
                                 const BackltoNamedModule *Modules, size_t Count,
                                 BackltoSink Repaired, void *RepairedCtx,
                                 BackltoSink ErrorOut, void *ErrorCtx) {
  return contained(Sink{ErrorOut, ErrorCtx}, [&] {
    StringRef Bytes = toRef(Index->Bytes);
    Finder Find(Bytes);
    consumeError(Find.read());
    Bits Result(Bytes);
    bool Changed = false;
    for (const Entry &E : Find.found()) {
      const BackltoNamedModule *Match = nullptr;
      unsigned Matches = 0;
      for (const BackltoNamedModule &Module : ArrayRef(Modules, Count))
        if (isOf(Result, E, Module)) {
          Match = &Module;
          ++Matches;
        }
      // Two that are the same cannot be told from each other.
      if (Matches != 1)
        continue;
      eachBit(E, *Match,
              [&](uint64_t At, bool Bit, bool) { Result.set(At, Bit); });
      Changed = true;
    }
    if (Changed)
      Sink{Repaired, RepairedCtx}(Result.bytes());
    return BackltoStatusOk;
  });
}
