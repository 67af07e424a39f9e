"""What the drivers in scripts/ and benches/ share.

run      running programs, and saying what came of it
debian   packages of Debian's suites, without touching the machine's own
source   a kernel's source, and copies of it that may be edited
kernel   trees: configuration, front end, make
boot     kernels in QEMU
oracle   what clang and ld.lld make of a tree; it knows nothing of backlto
edited   a kernel whose source is edited again and again
measure  seconds of programs
"""
