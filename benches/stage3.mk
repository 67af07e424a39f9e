# Stage 3 for trees of kernels that do not have one, with kbuild's own machinery
# and in the shape that Linux 7.2 gave it (scripts/Makefile.thinlto): if_changed
# decides what is stale, sed fetches the flags, one clang per object compiles.
# Run in the object tree with srctree=….

include $(srctree)/scripts/Kbuild.include

native := $(patsubst %.o,%.thinlto-native.o,$(call read-file,vmlinux.thinlto-index))

all: $(native)

# 7.2 saves the backend's flags in each .cmd file. Here the whole command of the
# front end is there, which ends in the names of files.
flags = $(shell sed -n '/^savedcmd_/s/.*:= //p' $(dir $<).$(notdir $<).cmd | \
	sed 's/ -c -o .*//; s/-Wp,-MMD,[^ ]*//')

quiet_cmd_backend = CC      $@
      cmd_backend = $(flags) -x ir -fno-lto -Wno-unused-command-line-argument \
	-fthinlto-index=$(word 2,$^) -c -o $@ $<

$(native): %.thinlto-native.o: %.o %.o.thinlto.bc FORCE
	$(call if_changed,backend)

FORCE:

-include $(foreach f,$(wildcard $(native)),$(dir $(f)).$(notdir $(f)).cmd)

.PHONY: all FORCE
