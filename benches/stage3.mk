# Stage 3 as Linux 7.2 does it (scripts/Makefile.thinlto), for trees of kernels
# that do not have it: make decides what is stale, a shell and sed fetch the
# flags, one clang per object compiles. Run in the object tree.

native := $(patsubst %.o,%.thinlto-native.o,$(file < vmlinux.thinlto-index))

all: $(native)

# 7.2 saves the backend's flags in each .cmd file; here the whole command of the
# front end is there, which ends in the names of files.
flags = $(shell sed -n 's/^savedcmd_[^ ]* := //p' $(dir $<).$(notdir $<).cmd | \
	sed 's/ -c -o .*//; s/-Wp,-MMD,[^ ]*//')

$(native): %.thinlto-native.o: %.o %.o.thinlto.bc
	@$(flags) -x ir -fno-lto -Wno-unused-command-line-argument \
		-fthinlto-index=$(word 2,$^) -c -o $(OUT)/$(subst /,_,$@) $<

.PHONY: all $(native)
