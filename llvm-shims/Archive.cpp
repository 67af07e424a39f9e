//===- Archive.cpp - Thin archives ----------------------------------------===//
//
// Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Internal.h"
#include "llvm/Object/ArchiveWriter.h"
#include "llvm/Support/StringSaver.h"

using namespace llvm;
using namespace backlto;

static Error writeThinArchive(const char *Path, ArrayRef<const char *> Files) {
  BumpPtrAllocator Alloc;
  StringSaver Names(Alloc);
  std::vector<NewArchiveMember> New;
  New.reserve(Files.size());
  for (const char *File : Files) {
    auto Member = NewArchiveMember::getFile(File, /*Deterministic=*/true);
    if (!Member)
      return createStringError("cannot read archive member '" + Twine(File) +
                               "': " + toString(Member.takeError()));
    // A thin archive records paths relative to itself.
    auto Relative = computeArchiveRelativePath(Path, File);
    if (!Relative)
      return Relative.takeError();
    Member->MemberName = Names.save(*Relative);
    New.push_back(std::move(*Member));
  }
  return writeArchive(Path, New, SymtabWritingMode::NoSymtab,
                      object::Archive::K_GNU, /*Deterministic=*/true,
                      /*Thin=*/true);
}

BackltoStatus BackltoWriteThinArchive(const char *Path,
                                      const char *const *Members, size_t Count,
                                      BackltoSink ErrorOut, void *ErrorCtx) {
  Sink Out{ErrorOut, ErrorCtx};
  return contained(Out, [&] {
    if (Error E = writeThinArchive(Path, ArrayRef(Members, Count)))
      return fail(Out, std::move(E));
    return BackltoStatusOk;
  });
}
