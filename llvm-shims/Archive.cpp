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

BackltoStatus BackltoWriteThinArchive(const char *Path,
                                      const char *const *Members, size_t Count,
                                      BackltoSink ErrorOut, void *ErrorCtx) {
  BumpPtrAllocator Alloc;
  StringSaver Names(Alloc);
  std::vector<NewArchiveMember> New;
  New.reserve(Count);
  for (const char *File : ArrayRef(Members, Count)) {
    auto Member = NewArchiveMember::getFile(File, /*Deterministic=*/true);
    if (!Member)
      return fail(Sink{ErrorOut, ErrorCtx},
                  createStringError("cannot read archive member '" +
                                    Twine(File) + "': " +
                                    toString(Member.takeError())));
    // A thin archive records paths relative to itself.
    auto Relative = computeArchiveRelativePath(Path, File);
    if (!Relative)
      return fail(Sink{ErrorOut, ErrorCtx}, Relative.takeError());
    Member->MemberName = Names.save(*Relative);
    New.push_back(std::move(*Member));
  }
  if (Error E = writeArchive(Path, New, SymtabWritingMode::NoSymtab,
                             object::Archive::K_GNU, /*Deterministic=*/true,
                             /*Thin=*/true))
    return fail(Sink{ErrorOut, ErrorCtx}, std::move(E));
  return BackltoStatusOk;
}
