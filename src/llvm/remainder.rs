//! What is left of a summary index once the imports are in.

use super::ffi;
use super::ffi::{Buffer, RawStatus, Slice};
use super::sink::{Collector, collect};

/// What the stages after importing may read of `index`, that of `module`: bytes
/// that are equal for indexes between which those stages see no difference.
/// `None` when the index holds anything of which that is not known.
pub(crate) fn index_remainder(index: &[u8], module: &str) -> Option<Vec<u8>> {
    let buffer = Buffer::new(module, index);
    let mut remainder = Collector::default();
    let mut error = Collector::default();
    // SAFETY: all pointers are to locals that outlive the call.
    let status = unsafe {
        ffi::BackltoIndexRemainder(
            &raw const buffer,
            Slice::new(module.as_bytes()),
            collect,
            remainder.context(),
            collect,
            error.context(),
        )
    };
    (status == RawStatus::OK).then(|| remainder.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    /// An index of `own.o`, which imports from `b.o`.
    const INDEX: &str = r#"
^0 = module: (path: "b.o", hash: (1, 2, 3, 4, 6))
^1 = module: (path: "own.o", hash: (1, 2, 3, 4, 5))
^2 = gv: (guid: 11, summaries: (function: (module: ^1, flags: (linkage: external, visibility: default, notEligibleToImport: 0, live: 1, dsoLocal: 0, canAutoHide: 0, importType: definition), insts: 10, funcFlags: (readNone: 0, readOnly: 0, noRecurse: 0, returnDoesNotAlias: 0, noInline: 0, alwaysInline: 0, noUnwind: 0, mayThrow: 0, hasUnknownCall: 0, mustBeUnreachable: 0), calls: ((callee: ^3)), refs: (^4))))
^3 = gv: (guid: 12, summaries: (function: (module: ^0, flags: (linkage: available_externally, visibility: hidden, notEligibleToImport: 0, live: 1, dsoLocal: 0, canAutoHide: 0, importType: definition), insts: 2)))
^4 = gv: (guid: 13, summaries: (variable: (module: ^0, flags: (linkage: internal, visibility: default, notEligibleToImport: 0, live: 1, dsoLocal: 0, canAutoHide: 0, importType: definition), varFlags: (readonly: 0, writeonly: 0, constant: 0))))
^5 = gv: (guid: 14, summaries: (alias: (module: ^1, flags: (linkage: weak, visibility: default, notEligibleToImport: 0, live: 1, dsoLocal: 0, canAutoHide: 0, importType: definition), aliasee: ^2)))
^6 = flags: 8
^7 = blockcount: 12
"#;

    fn assemble(directory: &Path, text: &str) -> Vec<u8> {
        let (source, index) = (directory.join("i.ll"), directory.join("i.bc"));
        std::fs::write(&source, text).unwrap();
        let mut llvm_as = Command::new(format!("{}/llvm-as", crate::llvm::BINDIR));
        let output = llvm_as.arg(&source).arg("-o").arg(&index).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{said}");
        std::fs::read(index).unwrap()
    }

    fn of(text: &str) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let index = assemble(directory.path(), text);
        index_remainder(&index, "own.o").unwrap_or_else(|| panic!("no remainder of {text}"))
    }

    /// [`INDEX`] with `to` for the only `from`.
    fn edited(text: &str, from: &str, to: &str) -> String {
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        text.replace(from, to)
    }

    #[test]
    fn without_names_an_index_says_all_else() {
        let nameless = |text: &str| {
            let directory = tempfile::tempdir().unwrap();
            let index = assemble(directory.path(), text);
            crate::llvm::index_without_names(&index).unwrap()
        };
        let base = nameless(INDEX);
        for other in ["a", "lib.a(b.o at 8).1.4711"] {
            let renamed = edited(INDEX, "\"b.o\"", &format!("\"{other}\""));
            assert!(nameless(&renamed) == base, "{other}");
        }
        for (from, to) in [
            // Modules are imported from in the order of their names.
            ("\"b.o\"", "\"z.o\""),
            ("4, 6", "4, 7"),
            ("4, 5", "4, 7"),
            ("guid: 12", "guid: 15"),
            ("insts: 10", "insts: 11"),
            ("(callee: ^3)", "(callee: ^3, hotness: hot)"),
            (", refs: (^4)", ""),
            ("linkage: internal", "linkage: private"),
            ("flags: 8", "flags: 9"),
            ("^7 = blockcount: 12\n", "^7 = blockcount: 13\n"),
        ] {
            assert!(nameless(&edited(INDEX, from, to)) != base, "{from} to {to}");
        }
        assert!(crate::llvm::index_without_names(b"no index").is_none());
    }

    #[test]
    fn what_only_importing_reads_does_not_count() {
        let base = of(INDEX);
        for (from, to) in [
            ("4, 6", "4, 7"),
            ("4, 5", "4, 7"),
            ("\"b.o\"", "\"lib.a(b.o at 9)\""),
            ("insts: 10", "insts: 11"),
            ("(callee: ^3)", "(callee: ^3, hotness: hot, tail: 1)"),
            (", refs: (^4)", ""),
            ("calls: ((callee: ^3)), ", ""),
            ("^7 = blockcount: 12\n", "^7 = blockcount: 13\n"),
        ] {
            assert!(of(&edited(INDEX, from, to)) == base, "{from} to {to}");
        }
        // Modules and symbols in another order, with other numbers.
        let swapped = INDEX
            .replace("^0", "^9")
            .replace("^1", "^0")
            .replace("^9", "^1");
        let (head, rest) = swapped.trim_start().split_at(swapped.find("\n^0").unwrap());
        let (own, rest) = rest.split_once('\n').unwrap();
        assert!(of(&format!("{own}\n{head}{rest}")) == base);
    }

    #[test]
    fn all_else_counts() {
        let info = |text: &str| ("calls: (".to_owned(), format!("{text}, calls: ("));
        let owned = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let mut edits = vec![
            owned("own.o", "c.o"),
            owned("flags: 8", "flags: 9"),
            owned("flags: 8", "flags: 40"),
            owned("guid: 12", "guid: 15"),
            owned("linkage: available_externally", "linkage: external"),
            owned("linkage: internal", "linkage: private"),
            owned("linkage: weak", "linkage: weak_odr"),
            owned("visibility: hidden", "visibility: protected"),
            owned("readonly: 0", "readonly: 1"),
            owned("writeonly: 0", "writeonly: 1"),
            owned("constant: 0", "constant: 1"),
            owned("constant: 0", "constant: 0, vcall_visibility: 1"),
            owned("guid: 11", "guid: 15"),
            info("typeIdInfo: (typeTests: (77))"),
            info("typeIdInfo: (typeTests: (78))"),
            info("typeIdInfo: (typeTestAssumeVCalls: (vFuncId: (guid: 77, offset: 16)))"),
            info("typeIdInfo: (typeCheckedLoadVCalls: (vFuncId: (guid: 77, offset: 16)))"),
            info(
                "typeIdInfo: (typeTestAssumeConstVCalls: ((vFuncId: (guid: 77, offset: 16), args: (42))))",
            ),
            info(
                "typeIdInfo: (typeTestAssumeConstVCalls: ((vFuncId: (guid: 77, offset: 16), args: (43))))",
            ),
            info(
                "typeIdInfo: (typeCheckedLoadConstVCalls: ((vFuncId: (guid: 77, offset: 16), args: (42))))",
            ),
            info("params: ((param: 0, offset: [0, 15]))"),
            info("params: ((param: 0, offset: [0, 30]))"),
            info("params: ((param: 1, offset: [0, 15]))"),
            info(
                "params: ((param: 0, offset: [0, 15], calls: ((callee: ^3, param: 0, offset: [0, 3]))))",
            ),
            info(
                "params: ((param: 0, offset: [0, 15], calls: ((callee: ^2, param: 0, offset: [0, 3]))))",
            ),
            info("allocs: ((versions: (none), memProf: ((type: notcold, stackIds: (1, 2)))))"),
            info("allocs: ((versions: (none), memProf: ((type: cold, stackIds: (1, 2)))))"),
            info("allocs: ((versions: (cold), memProf: ((type: cold, stackIds: (1, 2)))))"),
            info("callsites: ((callee: ^3, clones: (0), stackIds: (1, 2)))"),
            info("callsites: ((callee: ^3, clones: (1), stackIds: (1, 2)))"),
            info("callsites: ((callee: ^3, clones: (0), stackIds: (1, 3)))"),
        ];
        // Flags that a symbol of any kind has, then those of functions.
        let line = |start: &str, end: char| {
            let (_, rest) = INDEX.split_once(start).unwrap();
            rest.split_once(end).unwrap().0
        };
        let common = line("linkage: internal, ", ')');
        let function = line("funcFlags: (", ')');
        for flags in [common, function] {
            for flag in flags.split(", ") {
                let (name, value) = flag.split_once(": ").unwrap();
                let other = match value {
                    "0" => "1",
                    "1" => "0",
                    "default" => "hidden",
                    _ => "declaration",
                };
                let all = match flags == common {
                    true => format!("linkage: internal, {flags}"),
                    false => flags.to_owned(),
                };
                let to = edited(&all, flag, &format!("{name}: {other}"));
                edits.push((all, to));
            }
        }
        let mut texts = vec![INDEX.to_owned()];
        texts.extend(edits.iter().map(|(from, to)| edited(INDEX, from, to)));
        // An identifier is only written for those who test for it.
        let tested = edited(INDEX, "calls: (", "typeIdInfo: (typeTests: (^8)), calls: (");
        for (name, kind) in [("t", "allOnes"), ("u", "allOnes"), ("t", "inline")] {
            texts.push(format!(
                "{tested}^8 = typeid: (name: \"{name}\", \
                 summary: (typeTestRes: (kind: {kind}, sizeM1BitWidth: 7)))\n"
            ));
        }
        let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
        for text in texts {
            let rest = of(&text);
            if let Some((other, _)) = seen.iter().find(|(_, known)| *known == rest) {
                panic!("one remainder of {text}and {other}");
            }
            seen.push((text, rest));
        }
    }

    #[test]
    fn what_is_not_known_has_no_remainder() {
        // The summary of a module has records of its own.
        let module = "define void @f() {\n ret void\n}\n^0 = module: (path: \"own.o\", hash: (0, 0, 0, 0, 0))\n\
            ^1 = gv: (name: \"f\", summaries: (function: (module: ^0, flags: (linkage: external), insts: 1)))\n";
        let directory = tempfile::tempdir().unwrap();
        let bytes = assemble(directory.path(), module);
        assert!(index_remainder(&bytes, "own.o").is_none());
        let index = assemble(directory.path(), INDEX);
        for length in 0..index.len() {
            index_remainder(&index[..length], "own.o");
        }
        assert!(index_remainder(&index, "own.o").is_some());
        assert!(index_remainder(b"", "own.o").is_none());
    }
}
