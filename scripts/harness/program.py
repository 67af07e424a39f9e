"""Small C and C++ programs as data, and their text.

The letter that a name begins with says what it is, so that a module declares what
its text mentions and need not know who defines it, or whether anybody does:

  i1   int (int)                      p1   int (char *), which looks at its argument
  h1   as i1, in a header             o1   an object of class A, by a number (C++)
  v1   int [4]   c1   const int [4]   t1   int, one for each thread
"""

import dataclasses
import re

NAME = re.compile(r"\b[iphovct]\d+\b")

DECLARATIONS = {
    "i": "int {}(int);",
    "p": "int {}(char *);",
    "o": "struct A *{}(int);",
    "v": "extern int {}[4];",
    "c": "extern const int {}[4];",
    "t": "extern __thread int {};",
}
PARAMETERS = {"i": "int x", "p": "char *p", "o": "int x", "h": "int x"}
# How the body of a function begins.
STARTS = {"i": "int r = x;", "h": "int r = x;", "p": "int r = p[0];", "o": "int r = x;"}
LAST = {"o": "return r & 1 ? (struct A *)&first : (struct A *)&second;"}


@dataclasses.dataclass
class Function:
    """A function; NAME says of which kind."""

    name: str
    linkage: str = ""
    attributes: list = dataclasses.field(default_factory=list)
    body: list = dataclasses.field(default_factory=list)
    # The classes of the two objects that an `o` function gives.
    classes: tuple = ("A", "A")
    # Whether its module's root calls it; what no root reaches is removed.
    rooted: bool = False

    def signature(self):
        kind = self.name[0]
        result = "struct A *" if kind == "o" else "int "
        return " ".join([self.linkage, *self.attributes, f"{result}{self.name}"
                                                         f"({PARAMETERS[kind]})"]).strip()

    def text(self):
        kind = self.name[0]
        own = [f"static struct {name} {which};"
               for name, which in zip(self.classes, ("first", "second"))] if kind == "o" else []
        lines = [*own, STARTS[kind], *self.body, LAST.get(kind, "return r;")]
        return "\n".join([f"{self.signature()} {{", *(f"  {line}" for line in lines), "}"])


@dataclasses.dataclass
class Variable:
    """A variable; NAME says of which kind."""

    name: str
    linkage: str = ""
    attributes: list = dataclasses.field(default_factory=list)
    values: list = dataclasses.field(default_factory=lambda: [0])

    def text(self):
        kind = self.name[0]
        const = {"c": "const int", "t": "__thread int", "v": "int"}[kind]
        values = f"{self.values[0]}" if kind == "t" else \
            f"{{{', '.join(map(str, self.values))}}}"
        extent = "" if kind == "t" else "[4]"
        # A constant is local in C++, unless it says otherwise.
        linkage = self.linkage or ("extern" if kind == "c" else "")
        return " ".join([linkage, *self.attributes, const,
                         f"{self.name}{extent} = {values};"]).strip()


@dataclasses.dataclass
class Alias:
    """Another name for the function TARGET of the same module: `alias`, or `ifunc`."""

    name: str
    target: str
    how: str = "alias"
    linkage: str = ""

    def text(self):
        if self.how == "alias":
            return f'{self.linkage} int {self.name}(int) __attribute__((alias("{self.target}")));'
        resolver = f"resolve_{self.name}"
        return (f"static int (*{resolver}(void))(int) {{ return {self.target}; }}\n"
                f'int {self.name}(int) __attribute__((ifunc("{resolver}")));')


@dataclasses.dataclass
class Class:
    """A class: its base, its virtual methods by number, what stands before its name.
    A method is (inline, body)."""

    name: str
    base: str = None
    attributes: str = ""
    methods: dict = dataclasses.field(default_factory=dict)
    # Number of the module that has the bodies that are not inline.
    home: int = 0

    def declaration(self):
        base = f" : {self.base}" if self.base else ""
        lines = [f"struct {self.attributes} {self.name}{base} {{"]
        for number, (inline, body) in sorted(self.methods.items()):
            end = f" {{ {body} }}" if inline else ";"
            lines.append(f"  virtual int m{number}(int x){end}")
        return "\n".join([*lines, "};"])

    def bodies(self):
        return [f"int {self.name}::m{number}(int x) {{ {body} }}"
                for number, (inline, body) in sorted(self.methods.items()) if not inline]


@dataclasses.dataclass
class Module:
    """One source file, and how it is compiled."""

    name: str
    language: str
    flags: list = dataclasses.field(default_factory=list)
    items: list = dataclasses.field(default_factory=list)
    assembly: list = dataclasses.field(default_factory=list)
    # Compiled without LTO, as a library from elsewhere would be.
    native: bool = False
    archive: bool = False

    def functions(self):
        return [item for item in self.items if isinstance(item, Function)]

    def root(self):
        """A function that the link keeps, whatever is hidden."""
        calls = {"i": "r += {}(r);", "p": "{{ char b[32]; b[0] = r; r += {}(b); }}"}
        lines = [calls[each.name[0]].format(each.name) for each in self.functions()
                 if each.rooted and each.name[0] in calls]
        return "\n".join([f'__attribute__((used, visibility("default"))) int {self.name}_root'
                          "(int x) {", "  int r = x;", *(f"  {line}" for line in lines),
                          "  return r;", "}"])

    def source(self):
        return f"{self.name}.{'cpp' if self.language == 'c++' else 'c'}"


@dataclasses.dataclass
class Program:
    """Modules, what they share, and how they are compiled and linked."""

    family: str
    flags: list
    modules: list
    header: list
    classes: list
    # What kind of option, and the words for it.
    link: dict
    profile: dict = dataclasses.field(default_factory=dict)
    version_script: list = dataclasses.field(default_factory=list)
    # The number of the next name.
    names: int = 0

    def new_name(self, letter):
        self.names += 1
        return f"{letter}{self.names}"

    def mentionable(self, module, letters):
        """The names of kinds LETTERS that MODULE can use."""
        names = [item.name for each in self.modules for item in each.items
                 if each is module or item.linkage != "static"]
        names += [function.name for function in self.header]
        return [name for name in names if name[0] in letters]

    def text(self, module):
        """The source of MODULE."""
        plus = module.language == "c++"
        classes, definitions = [], [item.text() for item in module.items
                                    if not isinstance(item, Variable)]
        definitions.append(module.root())
        if plus:
            number = self.modules.index(module)
            classes = [each.declaration() for each in self.classes]
            definitions += [body for each in self.classes if each.home == number
                            for body in each.bodies()]
        shared, mentioned = self.shared("\n".join([*classes, *definitions]))
        names = [self.declared(module, name) for name in sorted(mentioned)]
        names += [item.text() for item in module.items if isinstance(item, Variable)]
        names = [name for name in names if name]
        if plus:
            names = ["struct A;", 'extern "C" {', *names, "}"]
        inline = "inline" if plus else "static inline"
        header = [f"{inline} {function.text()}" for function in shared]
        assembly = [f"__asm__({line});" for line in module.assembly]
        return "\n".join([*assembly, *names, *classes, *header, *definitions]) + "\n"

    @staticmethod
    def declared(module, name):
        """How MODULE declares NAME; nothing if it defines it first."""
        own = next((item for item in module.items if item.name == name), None)
        if name[0] == "h" or isinstance(own, Variable):
            return None
        linkage = own.linkage if isinstance(own, Function) else ""
        return f"{linkage} {DECLARATIONS[name[0]].format(name)}".strip()

    def shared(self, text):
        """The functions of the header that TEXT needs, in order; all names that they and
        TEXT mention."""
        mentioned, needed = set(NAME.findall(text)), []
        # A function of the header mentions earlier ones alone.
        for function in reversed(self.header):
            if function.name in mentioned:
                needed.insert(0, function)
                mentioned |= set(NAME.findall(function.text()))
        return needed, mentioned
