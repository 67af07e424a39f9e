//! A link by an ld.lld that does not hand its backends over (before LLD 22): the thin
//! link by itself, the backends by a distributor as LLD would start it, then a link of
//! the objects that these make.
//!
//! The last link is given the command line of the first, and reads objects under the
//! names of modules (`--remap-inputs-file`, since LLD 17): what stands beside a module,
//! on the command line or in an archive, stays where it was.

mod archives;

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSymbol};
use serde_json::json;
use tempfile::TempDir;

use self::archives::{Archives, Part, is_bitcode};
use crate::linker::{Linker, read_index_list};
use crate::response;
use crate::session::{Failure, Outcome, Settings, absolute};
use crate::tools::CLANG;
use backlto::bitcode;
use backlto::error::{Error, Kind, Result};
use backlto::files::{self, Files};

/// How many directories stand between that of a link and what has a module's name in
/// it: a name that goes up (`../x.o`) stays within.
const DEPTH: usize = 32;
/// What LLD takes for a pattern, for the end of a name, or for a comment.
const SPECIAL: [char; 7] = ['*', '?', '[', ']', '\\', '=', '#'];

/// A link, and what its backends are told.
#[derive(clap::Args)]
pub(crate) struct Request {
    /// A word of the distributor's command line, before the file of the jobs
    #[arg(
        long = "distributor-arg",
        allow_hyphen_values = true,
        value_name = "WORD"
    )]
    distributor_args: Vec<String>,
    /// A word of the compiler's command line, for all backends
    #[arg(long = "compiler-arg", allow_hyphen_values = true, value_name = "WORD")]
    compiler_args: Vec<String>,
    /// ld.lld's command line
    #[arg(last = true)]
    args: Vec<String>,
}

/// Options of later LLDs that are for the backends alone: what they say to the
/// distributor, and to the compiler.
const FOR_BACKENDS: [&str; 2] = ["thinlto-distributor-arg=", "thinlto-remote-compiler-arg="];

/// Does the link.
///
/// # Errors
/// When one of its steps fails.
pub(crate) fn run(request: &Request, settings: &Settings) -> Outcome {
    let words = Words::of(&request.args);
    let scratch = Scratch::new(&words)?;
    let link = Link {
        linker: settings.find_linker()?,
        scratch: &scratch.path,
        directory: absolute(Path::new("."))?,
    };
    let archives = Archives::find(&words.known, &link.directory, link.scratch)?;
    let first = archives.unpacked(&words.known, |_| Part::Same);
    let modules = link.thin_link(&first)?;
    let plain = modules.is_empty() || link.has_other_code()?;
    if plain || words.excludes || !link.knows(&modules, &archives, &words) {
        // Full LTO, or files that only LLD finds: its own backends do all.
        return link.run(&words.known, &[]);
    }
    link.run_backends(&modules, request, &words)?;
    let needed: HashSet<&str> = modules.iter().map(String::as_str).collect();
    let last = archives.unpacked(&words.known, |file| match needed.contains(file) {
        // What it was needed for may be inlined now.
        true => Part::Needed,
        // What the thin link did not need must not be found by the last one.
        false if is_bitcode(&link.directory.join(file)) => Part::None,
        false => Part::Same,
    });
    let replaced = link.remap(&modules)?;
    link.run(&last, &[replaced])
}

/// LLD's command line, with response files in place.
struct Words {
    /// Those that this LLD knows.
    known: Vec<String>,
    /// What others tell the distributor, and the compiler.
    distributor: Vec<String>,
    compiler: Vec<String>,
    /// Whether files of the steps are to stay (`--save-temps`).
    save: bool,
    /// Whether it counts that a file is in an archive (`--exclude-libs`).
    excludes: bool,
}

impl Words {
    fn of(given: &[String]) -> Words {
        let given: Vec<OsString> = given.iter().map(OsString::from).collect();
        let mut words = Words {
            known: Vec::new(),
            distributor: Vec::new(),
            compiler: Vec::new(),
            save: false,
            excludes: false,
        };
        for word in response::expand(&given) {
            let word = word.to_string_lossy().into_owned();
            let [distributor, compiler] = FOR_BACKENDS.map(|name| value_of(&word, name));
            if let Some(value) = distributor {
                words.distributor.push(value.to_owned());
            } else if let Some(value) = compiler {
                words.compiler.push(value.to_owned());
            } else {
                words.save |= value_of(&word, "save-temps").is_some();
                words.excludes |= value_of(&word, "exclude-libs").is_some();
                words.known.push(word);
            }
        }
        words
    }

    /// What the link writes.
    fn output(&self) -> &str {
        let mut output = "a.out";
        let mut words = self.known.iter();
        while let Some(word) = words.next() {
            output = match word.as_str() {
                "-o" | "--output" => words.next().map_or(output, String::as_str),
                word => value_of(word, "output=").unwrap_or(output),
            };
        }
        output
    }
}

/// What stands in `word` behind the option `name`.
fn value_of<'w>(word: &'w str, name: &str) -> Option<&'w str> {
    let text = word.strip_prefix('-')?;
    text.strip_prefix('-').unwrap_or(text).strip_prefix(name)
}

/// Where the files of the steps are.
struct Scratch {
    path: PathBuf,
    /// Removes them.
    _owned: Option<TempDir>,
}

impl Scratch {
    fn new(words: &Words) -> Result<Scratch> {
        let failed =
            |e| Error::new(Kind::Output, "cannot make a directory for the link").because(e);
        if words.save {
            let path = format!("{}.{}.thinlto", words.output(), std::process::id());
            std::fs::create_dir_all(&path).map_err(failed)?;
            return Ok(Scratch {
                path: absolute(Path::new(&path))?,
                _owned: None,
            });
        }
        let owned = tempfile::Builder::new().prefix("backlto-link-").tempdir();
        let owned = owned.map_err(failed)?;
        Ok(Scratch {
            path: owned.path().to_owned(),
            _owned: Some(owned),
        })
    }
}

/// Writes `text` to `path`.
fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|e| {
        Error::new(Kind::Output, format!("cannot write `{}`", path.display())).because(e)
    })
}

/// The steps of a link.
struct Link<'a> {
    linker: Linker,
    /// A directory for this link alone.
    scratch: &'a Path,
    directory: PathBuf,
}

impl Link<'_> {
    /// Runs LLD with `words` and `more`. If it fails, it has said why.
    fn run(&self, words: &[String], more: &[String]) -> Outcome {
        let path = self.scratch.join("words");
        let quoted = |word: &String| word.replace('\\', r"\\").replace('"', "\\\"");
        let lines = words
            .iter()
            .chain(more)
            .map(|word| format!("\"{}\"\n", quoted(word)));
        write(&path, &lines.collect::<String>())?;
        let args = [format!("@{}", path.display())];
        let status = self.linker.status(&self.directory, &args);
        match status.map_err(|e| Error::new(Kind::Link, "cannot run ld.lld").because(e))? {
            status if status.success() => Ok(()),
            _ => Err(Failure::Reported),
        }
    }

    /// Writes the indexes of a link of `words`; returns the modules that it needs, in
    /// its order.
    fn thin_link(&self, words: &[String]) -> std::result::Result<Vec<String>, Failure> {
        let list = self.scratch.join("modules");
        let prefix = self.prefix();
        let more = [
            format!("--thinlto-index-only={}", list.display()),
            format!("--thinlto-prefix-replace=;{prefix}"),
            format!("--lto-obj-path={}", self.other_code().display()),
        ];
        self.run(words, &more)?;
        let listed = read_index_list(&list)?.into_iter();
        let module = |name: String| {
            let plain = name.strip_prefix(&prefix).map(str::to_owned);
            plain.unwrap_or(name)
        };
        Ok(listed.map(module).collect())
    }

    /// The option that has LLD read the objects of `modules` instead of these.
    fn remap(&self, modules: &[String]) -> Result<String> {
        let path = self.scratch.join("inputs");
        let lines = modules
            .iter()
            .map(|module| format!("{module}={}\n", self.object(module).display()));
        write(&path, &lines.collect::<String>())?;
        Ok(format!("--remap-inputs-file={}", path.display()))
    }

    /// What stands before a module's name, in those of its index and of its object.
    fn prefix(&self) -> String {
        format!("{}/{}", self.scratch.display(), "d/".repeat(DEPTH))
    }

    fn index(&self, module: &str) -> String {
        format!("{}{module}.thinlto.bc", self.prefix())
    }

    fn object(&self, module: &str) -> PathBuf {
        PathBuf::from(format!("{}{module}.native.o", self.prefix()))
    }

    /// Where LLD writes the code that belongs to no ThinLTO module.
    fn other_code(&self) -> PathBuf {
        self.scratch.join("other.o")
    }

    /// Whether there is such code. LLD writes an object in any case.
    fn has_other_code(&self) -> Result<bool> {
        let path = self.other_code();
        let failed = || {
            let text = format!("cannot read `{}`, which ld.lld has written", path.display());
            Error::new(Kind::Link, text)
        };
        let bytes = files::read(&path).map_err(|e| failed().because(e))?;
        let object = object::File::parse(&*bytes).map_err(|e| failed().because(e))?;
        Ok(object.symbols().any(|symbol| symbol.is_definition()))
    }

    /// Whether LLD can be given others for all `modules`: they are members of
    /// `archives`, or stand among `words`.
    fn knows(&self, modules: &[String], archives: &Archives, words: &Words) -> bool {
        let members = archives.members();
        let named: HashSet<&str> = words.known.iter().map(String::as_str).collect();
        modules.iter().all(|module| {
            let path = self.directory.join(module);
            members.contains(path.as_path())
                || (named.contains(module.as_str())
                    && !module.contains(SPECIAL)
                    && is_bitcode(&path))
        })
    }

    /// Starts the distributor with the jobs, described as LLD does it.
    fn run_backends(&self, modules: &[String], request: &Request, words: &Words) -> Outcome {
        let target = bitcode::target(&self.directory.join(&modules[0]), &Files::default())?;
        let mut compiler = vec![CLANG.to_owned(), "-c".into(), format!("--target={target}")];
        compiler.extend_from_slice(&request.compiler_args);
        compiler.extend_from_slice(&words.compiler);
        let jobs: Vec<_> = modules
            .iter()
            .map(|module| {
                let (index, object) = (self.index(module), self.object(module));
                json!({
                    "args": [module, format!("-fthinlto-index={index}"), "-o", object],
                    "inputs": [module, index],
                    "outputs": [object],
                })
            })
            .collect();
        let common = json!({
            "linker_output": words.output(), "args": compiler, "inputs": [],
        });
        let output = words.output();
        let description = match words.save {
            // As LLD calls it.
            true => PathBuf::from(format!("{output}.{}.dist-file.json", std::process::id())),
            false => self.scratch.join("jobs.json"),
        };
        write(
            &description,
            &json!({ "common": common, "jobs": jobs }).to_string(),
        )?;
        let failed = |e| Error::new(Kind::Link, "cannot start the backends of a link").because(e);
        let status = Command::new(std::env::current_exe().map_err(failed)?)
            .args(&request.distributor_args)
            .args(&words.distributor)
            .arg(absolute(&description)?)
            .current_dir(&self.directory)
            .status()
            .map_err(failed)?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::Reported),
        }
    }
}
