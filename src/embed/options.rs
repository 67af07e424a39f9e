//! Asks for code without clang command lines. What is asked for becomes the flags
//! that clang has for it, so that there is one way to an object.

use crate::plan::CompilerCommand;

/// Says how hard to optimise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptLevel {
    /// `-O0`: not at all.
    O0,
    /// `-O1`: a little, for short compiles.
    O1,
    /// `-O2`: for speed.
    #[default]
    O2,
    /// `-O3`: for speed, whatever the size.
    O3,
    /// `-Os`: for speed, unless size suffers.
    Os,
    /// `-Oz`: for size alone.
    Oz,
}

/// Says what code may assume of the address that it will run at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Relocation {
    /// `-fno-pic`: the linker decides the address.
    Static,
    /// `-fPIC`: it runs at any address, and symbols may be replaced at run time.
    Pic,
    /// `-fPIE`: it runs at any address, in the main program.
    Pie,
}

/// Says how far apart code and data may be. Each target's psABI defines what its
/// models mean; not every target has all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodeModel {
    /// `-mcmodel=tiny`
    Tiny,
    /// `-mcmodel=small`
    Small,
    /// `-mcmodel=kernel`
    Kernel,
    /// `-mcmodel=medium`
    Medium,
    /// `-mcmodel=large`
    Large,
}

/// Names the debugger whose habits debug information follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Debugger {
    /// GNU's.
    Gdb,
    /// LLVM's.
    Lldb,
    /// AIX's.
    Dbx,
    /// The PlayStation's.
    Sce,
}

/// Tells a back end what it needs to know apart from the module. Functions that carry
/// attributes of their own (`target-cpu`, `optsize`, …) keep to those.
///
/// | field | clang's flag |
/// |---|---|
/// | `target` | `--target=` |
/// | `opt_level` | `-O` |
/// | `cpu` | `-Xclang -target-cpu`, which is `-march=` or `-mcpu=` by target |
/// | `features` | `-Xclang -target-feature`, one for each |
/// | `relocation` | `-fno-pic`, `-fPIC`, `-fPIE` |
/// | `code_model` | `-mcmodel=` |
/// | `function_sections`, `data_sections` | `-ffunction-sections`, `-fdata-sections` |
/// | `debugger` | `-Xclang -debugger-tuning=` |
/// | `llvm` | `-mllvm`, one for each |
///
/// What is not given is as clang has it by default. More fields may come: write
/// `..CodegenOptions::default()`.
///
/// ```
/// use backlto::embed::Relocation;
/// use backlto::{CodegenOptions, CompilerCommand, Job};
///
/// let options = CodegenOptions {
///     relocation: Some(Relocation::Pic),
///     ..CodegenOptions::default()
/// };
/// assert_eq!(options.flags(), ["-O2", "-fPIC"]);
/// let job = Job::new("main.o", CompilerCommand::from(options));
/// assert!(job.command_line().starts_with(&["clang".into(), "-O2".into()]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodegenOptions {
    /// The target triple; the one that this LLVM was built for when not given.
    pub target: Option<String>,
    /// How hard to optimise; `-O2` by default.
    pub opt_level: OptLevel,
    /// LLVM's name for the processor, such as "x86-64-v3".
    pub cpu: Option<String>,
    /// What the processor can do beyond that, or cannot: "+avx2", "-sse4a".
    pub features: Vec<String>,
    /// What code may assume of its address.
    pub relocation: Option<Relocation>,
    /// How far apart code and data may be.
    pub code_model: Option<CodeModel>,
    /// Whether each function gets a section of its own.
    pub function_sections: bool,
    /// Whether each variable gets a section of its own.
    pub data_sections: bool,
    /// The debugger whose habits debug information follows.
    pub debugger: Option<Debugger>,
    /// LLVM's own options. They are global to the process: see
    /// [`Engine`](crate::Engine) on what becomes of the host's.
    pub llvm: Vec<String>,
}

impl CodegenOptions {
    /// Gives the clang flags that stand for the options, without the compiler's
    /// name.
    pub fn flags(&self) -> Vec<String> {
        let mut flags: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| flags.extend(words.iter().map(|word| (*word).to_owned()));
        if let Some(target) = &self.target {
            add(&[&format!("--target={target}")]);
        }
        add(&[match self.opt_level {
            OptLevel::O0 => "-O0",
            OptLevel::O1 => "-O1",
            OptLevel::O2 => "-O2",
            OptLevel::O3 => "-O3",
            OptLevel::Os => "-Os",
            OptLevel::Oz => "-Oz",
        }]);
        // Straight to cc1: the driver's spelling differs between targets, and
        // the last one counts.
        if let Some(cpu) = &self.cpu {
            add(&["-Xclang", "-target-cpu", "-Xclang", cpu]);
        }
        for feature in &self.features {
            add(&["-Xclang", "-target-feature", "-Xclang", feature]);
        }
        if let Some(relocation) = self.relocation {
            add(&[match relocation {
                Relocation::Static => "-fno-pic",
                Relocation::Pic => "-fPIC",
                Relocation::Pie => "-fPIE",
            }]);
        }
        if let Some(model) = self.code_model {
            add(&[match model {
                CodeModel::Tiny => "-mcmodel=tiny",
                CodeModel::Small => "-mcmodel=small",
                CodeModel::Kernel => "-mcmodel=kernel",
                CodeModel::Medium => "-mcmodel=medium",
                CodeModel::Large => "-mcmodel=large",
            }]);
        }
        if self.function_sections {
            add(&["-ffunction-sections"]);
        }
        if self.data_sections {
            add(&["-fdata-sections"]);
        }
        if let Some(debugger) = self.debugger {
            let name = match debugger {
                Debugger::Gdb => "gdb",
                Debugger::Lldb => "lldb",
                Debugger::Dbx => "dbx",
                Debugger::Sce => "sce",
            };
            add(&["-Xclang", &format!("-debugger-tuning={name}")]);
        }
        for option in &self.llvm {
            add(&["-mllvm", option]);
        }
        flags
    }
}

impl From<&CodegenOptions> for CompilerCommand {
    fn from(options: &CodegenOptions) -> CompilerCommand {
        CompilerCommand::flags(std::iter::once("clang".to_owned()).chain(options.flags()))
    }
}

impl From<CodegenOptions> for CompilerCommand {
    fn from(options: CodegenOptions) -> CompilerCommand {
        CompilerCommand::from(&options)
    }
}
