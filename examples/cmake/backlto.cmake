# backlto.cmake
set(CMAKE_C_COMPILER clang-22)
set(CMAKE_CXX_COMPILER clang++-22)

# clang looks for ld.backlto, on PATH too. For programs, shared libraries and
# modules that are loaded at run time:
foreach(kind EXE SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT -fuse-ld=backlto)
endforeach()
