"""Random programs (harness/program.py), and random edits of them that aim at what
ThinLTO decides across modules."""

import copy
import re

from harness.program import Alias, Class, Function, Module, Program, Variable

# What there is of programs: flags of the front end, targets, and the letters of
# functions that are of interest beside the ordinary ones.
X86, ARM, RISCV = (f"--target={target}" for target in
                   ("x86_64-linux-gnu", "aarch64-linux-gnu", "riscv64-linux-gnu"))
ANDROID = ["--target=aarch64-linux-android34", "-march=armv8.5-a+memtag"]
VTABLES = [X86, "-fwhole-program-vtables", "-fvisibility=hidden"]
SAMPLES, COUNTS, CONTEXT = "samples.txt", "counts.profdata", "context.profdata"
FAMILIES = {
    "plain": ([X86], "i"),
    "aarch64": ([ARM], "i"),
    "riscv64": ([RISCV], "i"),
    "vtables": ([*VTABLES, "-fno-split-lto-unit"], "ooi"),
    "vtables-split": ([*VTABLES, "-fsplit-lto-unit"], "ooi"),
    "cfi": ([*VTABLES, "-fsanitize=cfi"], "ooi"),
    "cfi-calls": ([X86, "-fsanitize=cfi-icall", "-fvisibility=hidden"], "i"),
    "memtag": ([*ANDROID, "-fsanitize=memtag-stack", "-fvisibility=hidden"], "ppp"),
    "samples": ([X86, f"-fprofile-sample-use={SAMPLES}", "-gmlt", "-w"], "i"),
    "counts": ([X86, f"-fprofile-instr-use={COUNTS}", "-w"], "i"),
    "context": ([X86], "i"),
}

LINKAGES = ["", "", "", "static", "static", '__attribute__((visibility("hidden")))',
            '__attribute__((visibility("protected")))', '__attribute__((visibility("default")))',
            "__attribute__((weak))", "extern inline __attribute__((gnu_inline))"]
# Those of functions that can be looked into.
FINAL = LINKAGES[:7]
ATTRIBUTES = [f"__attribute__(({text}))" for text in (
    "noinline", "noinline", "noinline", "cold", "hot", "used", "minsize", "always_inline", "flatten",
    "noinline, optnone", "no_stack_protector", "aligned(64)", 'section(".text.here")',
    "patchable_function_entry(2)", "pure", "const", "nothrow", "leaf", "noduplicate",
    "no_caller_saved_registers", "retain", "disable_tail_calls", "no_builtin", "strictfp",
    'no_sanitize("memtag-stack")', 'no_sanitize("cfi")', "annotate(\"a\")")]
X86_ATTRIBUTES = [f'__attribute__((target("{text}")))' for text in (
    "avx2", "sse4.2", "no-sse3", "arch=haswell", "tune=znver3")]
VARIABLE_ATTRIBUTES = [f"__attribute__(({text}))" for text in (
    "used", "aligned(64)", 'section(".data.here")', "retain", 'visibility("protected")')]
OPTIONS = ["-O0", "-O1", "-O2", "-O3", "-Os", "-Oz", "-fno-inline", "-ffunction-sections", "-fPIC",
           "-fno-semantic-interposition", "-g", "-gmlt", "-fstack-protector-all", "-fno-builtin",
           "-fvisibility=hidden", "-fcf-protection=full", "-fno-plt", "-fwrapv", "-ftrivial-auto-var-init=zero",
           "-fno-omit-frame-pointer", "-fstack-clash-protection", "-fmerge-all-constants",
           "-fno-vectorize", "-funroll-loops", "-ftls-model=initial-exec", "-mllvm=-unroll-count=2",
           "-fpatchable-function-entry=3", "-fxray-instrument", "-finstrument-functions",
           "-fdata-sections", "-fno-jump-tables", "-fsplit-machine-functions", "-femulated-tls"]
# One of each kind is in force; no words are the default.
LINK = {
    "form": [["-shared"], ["-shared"], ["-pie", "-e", "i1"], ["-e", "i1"], ["-r"]],
    "level": [[], ["--lto-O0"], ["--lto-O1"], ["--lto-O2"], ["--lto-O3"]],
    "icf": [[], ["--icf=all"], ["--icf=safe"], ["--icf=none"]],
    "export": [[], ["--export-dynamic"], ["--export-dynamic-symbol=i*"]],
    "versions": [[], ["--version-script=versions"]],
    "libraries": [[], ["--exclude-libs=ALL"], ["--exclude-libs=all.a"]],
    "imports": [[], ["-mllvm", "-import-instr-limit=5"], ["-mllvm", "-import-instr-limit=0"],
                ["-mllvm", "-import-instr-limit=1000"]],
    "visibility": [[], ["--lto-whole-program-visibility"]],
    "sections": [[], ["--gc-sections", "-u", "i1"], ["--lto-basic-block-sections=all"]],
    "symbolic": [[], ["-Bsymbolic"], ["-Bsymbolic-functions"]],
    "names": [[], ["--wrap=i2"], ["--defsym=i3=i1"], ["-u", "i2"], ["--wrap=v4"]],
    "optimizer": [[], ["-mllvm", "-unroll-threshold=10"], ["-mllvm", "-inline-threshold=-1000"],
                  ["-mllvm", "-align-all-functions=5"]],
    # Not for the backends, so nothing may come of it.
    "nothing": [[], ["--build-id"], ["--threads=1"], ["-z", "now"], ["--no-rosegment"]],
}
ACCESS = re.compile(r"\bp\[\d+\]")


def one_in(rng, number):
    return rng.randrange(number) == 0


# --- statements -----------------------------------------------------------------

def statement(rng, program, module, own):
    """A line for the body of the function OWN in MODULE."""
    def name(letters):
        return rng.choice(program.mentionable(module, letters) or [f"{letters[-1]}1"])

    number, small = rng.randrange(1, 1000), rng.randrange(1, 9)
    # The header calls nothing of itself.
    called = "hi" if module else "i"
    lines = [
        f"r += {number};", f"r ^= r << {small};", f"r = r * {number} + {small};",
        f"r += {name(called)}(r);", f"r += {name(called)}(r + {number});", f"r += {name(called)}({number});",
        f"if (r > {number}) r = {name(called)}(r);",
        f"for (int k = 0; k < {small}; k++) r += k * {number} ^ r;",
        f"for (int k = 0; k < r; k++) r += {name('i')}(k);",
        f"if (__builtin_expect(r == {number}, 0)) __builtin_trap();",
        f"switch (r & 7) {{ case 0: r = {number}; break; case 1: r -= 3; break; case 2: r *= 5;"
        f" break; case 3: r ^= {small}; break; case 4: r += {name('i')}(2); }}",
        f"{{ int (*q)(int) = r & {small} ? {name('i')} : {name('i')}; r = q(r); }}",
        f'r += "some text {number}"[r & 7];',
        f"r = (int)(r * {number}.5f);",
        f"{{ static int kept = {number}; r += kept++; }}",
        '__asm__ volatile("nop" : "+r"(r));', '__asm__ volatile("" ::: "memory");',
    ]
    if program.mentionable(module, "v"):
        lines += [
            f"r += {name('v')}[r & 3];", f"r += {name('v')}[{number & 3}];",
            f"{name('v')}[r & 3] = r;", f"{name('v')}[{number & 3}] = {number};",
            f"for (int k = 0; k < 4; k++) r += {name('v')}[k] * {number};",
            f"__builtin_memcpy({name('v')}, {name('v')}, {4 * (number & 3)});",
            f"{{ int *volatile q = {name('v')}; r += *q; }}",
        ]
    if program.mentionable(module, "c"):
        lines += [f"r += {name('c')}[r & 3];", f"r += {name('c')}[{number & 3}];"]
    if program.mentionable(module, "t"):
        lines += [f"{name('t')} += r;", f"r ^= {name('t')};"]
    if program.mentionable(module, "p"):
        size = 16 << rng.randrange(3)
        lines += [f"{{ char b[{size}]; b[0] = r; r += {name('p')}(b); }}"] * 12
    if own[0] == "p":
        lines += [f"r += p[{small}];", f"p[{small}] = r;", f"__builtin_memset(p, r, {small});"] * 3
        # In no circle: what such a one looks at cannot be told.
        earlier = [name for name in program.mentionable(module, "p")
                   if int(name[1:]) < int(own[1:])]
        lines += [f"r += {name}(p + {rng.randrange(4)});" for name in earlier] * 2
    if module and module.language == "c++" and program.mentionable(module, "o"):
        lines += [f"r += {name('o')}(r)->m{rng.randrange(3)}({number});"] * 8
    return rng.choice(lines)


def function(rng, program, module, letter):
    """A new function in MODULE, or in the header."""
    linkages = {"h": [""], "p": FINAL}.get(letter, LINKAGES)
    made = Function(program.new_name(letter), rng.choice(linkages), rooted=one_in(rng, 2))
    if letter == "p" and one_in(rng, 2):
        # Never imported: of it, importers know what the index says.
        made.attributes.append("__attribute__((noinline))")
    elif one_in(rng, 3):
        made.attributes.append(attribute(rng, program))
    made.body = [statement(rng, program, module, made.name) for _ in range(rng.randrange(1, 9))]
    made.classes = tuple(rng.choice(program.classes).name for _ in range(2)) \
        if program.classes else made.classes
    return made


def attribute(rng, program):
    return rng.choice(ATTRIBUTES + X86_ATTRIBUTES * (X86 in program.flags))


def variable(rng, program):
    linkage = rng.choice(["", "", "static", "__attribute__((weak))",
                          '__attribute__((visibility("hidden")))'])
    return Variable(program.new_name(rng.choice("vvvct")), linkage,
                    values=[rng.randrange(100) for _ in range(4)])


def method(rng, program):
    body = rng.choice([f"return {rng.randrange(4)};", f"return x + {rng.randrange(99)};",
                       f"return {rng.choice(program.mentionable(None, 'i') or ['i1'])}(x);"])
    return one_in(rng, 4), body


# --- programs -------------------------------------------------------------------

def program(rng, family):
    """A random program of FAMILY."""
    flags, letters = FAMILIES[family]
    made = Program(family, flags, [], [], [], {kind: rng.choice(LINK[kind])
                                               if kind == "form" or one_in(rng, 4) else []
                                               for kind in LINK})
    if family == "memtag" or one_in(rng, 3):
        # What is imported and not inlined is decided by the index alone.
        made.link["optimizer"] = LINK["optimizer"][2]
    if "o" in letters:
        for number, (name, base) in enumerate((("A", None), ("B", "A"), ("C", "A"), ("D", "B"))):
            made.classes.append(Class(name, base, home=number % 3, methods={
                n: method(rng, made) for n in range(3) if not base or one_in(rng, 2)}))
    for number in range(rng.randrange(3, 9)):
        plus = "o" in letters and number < 3 or one_in(rng, 3)
        made.modules.append(Module(f"m{number}", "c++" if plus else "c",
                                   archive=number > 0 and one_in(rng, 4),
                                   flags=["-O2"], native=number > 2 and one_in(rng, 10)))
    for _ in range(2):
        made.header.append(function(rng, made, None, "h"))
    for _ in range(rng.randrange(4, 9) * len(made.modules)):
        edit_item_added(rng, made)
    fill_profile(rng, made)
    return made


def fill_profile(rng, made):
    for module in made.modules:
        for each in module.functions():
            made.profile.setdefault(each.name, rng.choice([0, 1, 100, 100000]))


# --- edits ----------------------------------------------------------------------
#
# Each changes the program; one that finds nothing to change gives False.

def some_function(rng, made):
    module = rng.choice(made.modules)
    functions = module.functions()
    return (module, rng.choice(functions)) if functions else (module, None)


def edit_body(rng, made):
    module, where = some_function(rng, made)
    if not where:
        return False
    line = statement(rng, made, module, where.name)
    place = rng.randrange(len(where.body) + 1)
    if where.body and one_in(rng, 3):
        del where.body[min(place, len(where.body) - 1)]
    elif where.body and one_in(rng, 2):
        where.body[min(place, len(where.body) - 1)] = line
    else:
        where.body.insert(place, line)
    return True


def edit_number(rng, made):
    """A constant alone, so that all else stays as it was."""
    _, where = some_function(rng, made)
    numbers = [place for place, line in enumerate(where.body) if line.startswith("r += ")
               and line[5:-1].isdigit()] if where else []
    if not numbers:
        return False
    where.body[rng.choice(numbers)] = f"r += {rng.randrange(1, 1000)};"
    return True


def edit_access(rng, made):
    """A function looks elsewhere behind its argument, inside or outside of the buffer."""
    functions = [item for module in made.modules for item in module.functions()
                 if item.name[0] == "p"]
    if not functions:
        return False
    body = rng.choice(functions).body
    far = rng.randrange(9) if rng.randrange(3) else rng.randrange(80)
    lines = [number for number, line in enumerate(body) if ACCESS.search(line)]
    if lines:
        line = rng.choice(lines)
        body[line] = ACCESS.sub(f"p[{far}]", body[line])
    else:
        body.append(f"r += p[{far}];")
    return True


def edit_write(rng, made):
    """A variable is written to that perhaps nobody wrote to before."""
    module, where = some_function(rng, made)
    variables = made.mentionable(module, "v")
    if not where or not variables:
        return False
    where.body.append(f"{rng.choice(variables)}[{rng.randrange(4)}] = r;")
    return True


def edit_attribute(rng, made):
    _, where = some_function(rng, made)
    if not where:
        return False
    if where.attributes and one_in(rng, 2):
        where.attributes.pop()
    else:
        where.attributes.append(attribute(rng, made))
    return True


def edit_linkage(rng, made):
    item = rng.choice(rng.choice(made.modules).items or [None])
    if not item or isinstance(item, Alias):
        return False
    item.linkage = rng.choice(LINKAGES[:-1] if isinstance(item, Variable) else LINKAGES)
    return True


def edit_variable(rng, made):
    variables = [item for module in made.modules for item in module.items
                 if isinstance(item, Variable)]
    if not variables:
        return False
    where = rng.choice(variables)
    if one_in(rng, 3):
        where.attributes = [] if where.attributes else [rng.choice(VARIABLE_ATTRIBUTES)]
    else:
        where.values[rng.randrange(4)] = rng.randrange(100)
    return True


def edit_item_added(rng, made):
    module = rng.choice(made.modules)
    letters = FAMILIES[made.family][1] + "i"
    letter = rng.choice(letters.replace("o", "o" if module.language == "c++" else "i"))
    names = [item.name for item in module.functions() if item.name[0] == "i"
             and "gnu_inline" not in item.linkage]
    if one_in(rng, 4):
        module.items.append(variable(rng, made))
    elif names and one_in(rng, 8):
        module.items.append(Alias(made.new_name("i"), rng.choice(names),
                                  rng.choice(["alias", "alias", "ifunc"]),
                                  rng.choice(["", "__attribute__((weak))"])))
    else:
        module.items.append(function(rng, made, module, letter))
    return True


def edit_item_removed(rng, made):
    items = rng.choice(made.modules).items
    if len(items) < 3:
        return False
    items.remove(rng.choice(items))
    return True


def edit_item_moved(rng, made):
    source, target = rng.choice(made.modules), rng.choice(made.modules)
    items = [item for item in source.items if item.name[0] in "ipvct"]
    if source is target or not items:
        return False
    item = rng.choice(items)
    source.items.remove(item)
    target.items.append(item)
    return True


def edit_header(rng, made):
    where = rng.choice(made.header)
    where.body.append(statement(rng, made, None, where.name))
    if len(where.body) > 4:
        del where.body[0]
    return True


def edit_class(rng, made):
    if not made.classes:
        return False
    where = rng.choice(made.classes)
    if one_in(rng, 4):
        where.attributes = rng.choice(["", '__attribute__((visibility("default")))',
                                       "[[clang::lto_visibility_public]]",
                                       '__attribute__((visibility("hidden")))'])
    elif where.base and one_in(rng, 3):
        number = rng.randrange(3)
        if where.methods.pop(number, None) is None:
            where.methods[number] = method(rng, made)
    elif where.methods:
        where.methods[rng.choice(sorted(where.methods))] = method(rng, made)
    return True


def edit_objects(rng, made):
    """Another class is made where objects are."""
    givers = [item for module in made.modules for item in module.functions()
              if item.name[0] == "o"]
    if not givers or not made.classes:
        return False
    rng.choice(givers).classes = tuple(rng.choice(made.classes).name for _ in range(2))
    return True


def edit_assembly(rng, made):
    module, number = rng.choice(made.modules), rng.randrange(100)
    if module.assembly and one_in(rng, 2):
        module.assembly.pop()
    else:
        module.assembly.append(rng.choice([f'".globl g{number}\\n.set g{number}, {number}"',
                                           f'".section .note.n{number},\\"\\"\\n.byte {number}\\n.text"']))
    return True


def edit_options(rng, made):
    flags = rng.choice(made.modules).flags
    option = rng.choice(OPTIONS)
    words = option.replace("-mllvm=", "-mllvm ").split()
    if len(flags) > 3 or option in flags:
        flags[:] = ["-O2"]
    else:
        flags += words
    return True


def edit_module(rng, made):
    """A module becomes part of a library, native, or another language."""
    module = rng.choice(made.modules[1:])
    what = rng.randrange(3)
    if what == 0:
        module.archive = not module.archive
    elif what == 1:
        module.native = not module.native
    else:
        first = rng.randrange(len(made.modules) - 1)
        if made.classes:
            return False
        made.modules[first:first + 2] = reversed(made.modules[first:first + 2])
    return True


def edit_link(rng, made):
    kind = rng.choice(list(LINK))
    made.link[kind] = rng.choice(LINK[kind])
    return True


def edit_versions(rng, made):
    made.version_script = sorted(rng.sample(range(made.names), min(6, made.names)))
    made.link["versions"] = LINK["versions"][1]
    return True


def edit_profile(rng, made):
    if made.family not in ("samples", "counts", "context") or not made.profile:
        return False
    made.profile[rng.choice(sorted(made.profile))] = rng.choice([0, 1, 100, 100000])
    return True


EDITS = {
    edit_body: 8, edit_number: 4, edit_access: 30, edit_write: 4, edit_attribute: 5, edit_linkage: 5,
    edit_variable: 4, edit_item_added: 3, edit_item_removed: 2, edit_item_moved: 2,
    edit_header: 2, edit_class: 6, edit_objects: 4, edit_assembly: 1, edit_options: 4,
    edit_module: 1, edit_link: 4, edit_versions: 1, edit_profile: 6,
}


def edited(rng, made):
    """An edited copy of the program MADE, and what was done."""
    while True:
        copied = copy.deepcopy(made)
        edit = rng.choices(list(EDITS), EDITS.values())[0]
        if edit(rng, copied):
            return copied, edit.__name__.removeprefix("edit_").replace("_", " ")
