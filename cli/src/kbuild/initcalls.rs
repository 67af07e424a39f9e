//! The linker script that keeps initcalls in link order under LTO: what
//! `scripts/generate_initcall_order.pl` of the kernel prints, without one nm
//! process per object.

use std::collections::BTreeMap;
use std::path::Path;

use object::{Object, ObjectSymbol};
use rayon::prelude::*;

use crate::magic;
use backlto::bitcode;
use backlto::error::{Error, Kind, Result};
use backlto::files;

/// Initcall sections by level, in link order.
type Levels<'a> = BTreeMap<String, Vec<String>>;

/// The linker script for `objects`, which are in link order and relative to
/// `objtree`.
///
/// # Errors
/// When the symbols of an object cannot be read, or no object has an initcall.
pub(crate) fn linker_script(objtree: &Path, objects: &[String]) -> Result<String> {
    let found: Vec<Vec<Initcall>> = objects
        .par_iter()
        .map(|object| initcalls_of(objtree, &objtree.join(object)))
        .collect::<Result<_>>()?;
    let mut levels = Levels::new();
    for call in found.into_iter().flatten() {
        levels.entry(call.level).or_default().push(call.section);
    }
    if levels.is_empty() {
        return Err(Error::new(
            Kind::Input,
            format!("no object of `{}` has an initcall", objtree.display()),
        )
        .hint("is this really the object tree of a kernel?"));
    }
    let mut script = String::from("SECTIONS {\n");
    for (level, sections) in levels {
        let output = match level.as_str() {
            "con" => ".con_initcall.init".to_owned(),
            level => format!(".initcall{level}.init"),
        };
        script.push_str(&format!("\t{output} : {{\n"));
        for section in sections {
            script.push_str(&format!("\t\t*({output}..{section}) ;\n"));
        }
        script.push_str("\t}\n");
    }
    script.push_str("}\n");
    Ok(script)
}

/// An initcall, as its symbol's name tells.
#[derive(Debug, PartialEq)]
pub(super) struct Initcall {
    counter: u64,
    level: String,
    section: String,
}

/// The initcalls of one object, in the order of their `__COUNTER__`.
fn initcalls_of(objtree: &Path, path: &Path) -> Result<Vec<Initcall>> {
    let failed = |reason: &dyn std::fmt::Display| {
        Error::new(
            Kind::Input,
            format!("cannot read the symbols of `{}`", path.display()),
        )
        .because(reason.to_string())
    };
    let bytes = files::read(path).map_err(|e| failed(&e))?;
    let mut names = symbol_names(objtree, path, &bytes).map_err(|e| failed(&e))?;
    // Where two share a counter, the one that nm lists last counts.
    names.sort_unstable();
    let mut calls = BTreeMap::new();
    for name in &names {
        if let Some(described) = name.strip_prefix("__initcall__") {
            let call =
                parse(described).map_err(|()| failed(&format!("odd initcall name `{name}`")))?;
            calls.extend(call.map(|call| (call.counter, call)));
        }
    }
    Ok(calls.into_values().collect())
}

/// The local symbols that are defined in a native object, all that are in
/// bitcode (libraries may hold some).
fn symbol_names(
    objtree: &Path,
    path: &Path,
    bytes: &[u8],
) -> std::result::Result<Vec<String>, String> {
    if bytes.starts_with(magic::BITCODE) {
        // LLVM reads the module's assembly for symbols, and files that it names.
        let name = path.to_string_lossy();
        return bitcode::defined_symbols(objtree, &name, bytes).map_err(|e| e.to_string());
    }
    let file = object::File::parse(bytes).map_err(|e| e.to_string())?;
    Ok(file
        .symbols()
        .filter(|symbol| symbol.is_local() && symbol.is_definition())
        .filter_map(|symbol| symbol.name().ok().map(str::to_owned))
        .collect())
}

/// Takes `MODULE__COUNTER_LINE_FUNCTIONLEVEL` apart. `None` means that it is not
/// an initcall, an error that it is one without a level.
pub(super) fn parse(name: &str) -> std::result::Result<Option<Initcall>, ()> {
    // The module's name may itself contain what looks like the separator, so
    // the last place that fits is meant.
    let fits = name
        .rmatch_indices("__")
        .find_map(|(at, _)| Some((&name[..at], numbers(&name[at + 2..])?)));
    let Some((module, (counter, line, symbol))) = fits else {
        return Ok(None);
    };
    let (function, level) = split_level(symbol).ok_or(())?;
    Ok(Some(Initcall {
        counter: counter.parse().map_err(|_| ())?,
        level: level.to_owned(),
        section: format!("{module}__{counter}_{line}_{function}"),
    }))
}

/// Splits `12_34_name` into "12", "34" and "name".
fn numbers(text: &str) -> Option<(&str, &str, &str)> {
    let (first, after) = text.split_once('_')?;
    let (second, symbol) = after.split_once('_')?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    (digits(first) && digits(second)).then_some((first, second, symbol))
}

/// Splits the shortest ending that is a level from what is before it.
fn split_level(symbol: &str) -> Option<(&str, &str)> {
    symbol
        .char_indices()
        .rev()
        .map(|(at, _)| symbol.split_at(at))
        .find(|(_, ending)| {
            let plain = ending.strip_suffix('s').filter(|e| !e.is_empty());
            [Some(*ending), plain].into_iter().flatten().any(is_level)
        })
}

/// Whether `text` is a level without the `s` of those that synchronise.
fn is_level(text: &str) -> bool {
    matches!(text, "early" | "rootfs" | "con")
        || matches!(text.as_bytes(), [digit] if digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> (u64, String, String) {
        let call = parse(name).unwrap().unwrap();
        (call.counter, call.level, call.section)
    }

    #[test]
    fn names_come_apart() {
        let expect = |name, counter, level: &str, section: &str| {
            assert_eq!(
                parsed(name),
                (counter, level.to_owned(), section.to_owned())
            );
        };
        expect(
            "kmod_tty__225_93_n_tty_init6",
            225,
            "6",
            "kmod_tty__225_93_n_tty_init",
        );
        expect("kmod_a__1_2__3_4_f5s", 3, "5s", "kmod_a__1_2__3_4_f");
        expect(
            "kmod_main__7_8_populaterootfs",
            7,
            "rootfs",
            "kmod_main__7_8_populate",
        );
        expect(
            "kmod_x__7_8_run_earlyearly",
            7,
            "early",
            "kmod_x__7_8_run_early",
        );
        expect("kmod_x__7_8_fcon", 7, "con", "kmod_x__7_8_f");
    }

    #[test]
    fn other_symbols_are_left_alone_and_odd_ones_reported() {
        assert_eq!(parse("start"), Ok(None));
        assert_eq!(parse("kmod_x__7_8_function"), Err(()));
    }
}
