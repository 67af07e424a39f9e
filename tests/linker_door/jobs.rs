//! `backlto` as the distributor of an ld.lld that the user calls.

use super::*;
use crate::common::{AR, BACKLTO, stderr};

fn by_backlto() -> [String; 2] {
    [linked_by(lld()), format!("-fthinlto-distributor={BACKLTO}")]
}

#[test]
fn lld_calls_backlto_with_the_users_options_or_none() {
    if needs_distribution() {
        return;
    }
    for options in [&[][..], &["-Xthinlto-distributor=-j1,-v,--no-cache"]] {
        let tree = two_modules(&[]);
        let [linker, distributor] = by_backlto();
        let args = ["main.o", "scale.o", "-Wl,--save-temps", "-o", "program"];
        let said = link(
            &tree,
            &[
                &args[..],
                &[&*linker, "-fuse-ld=lld", &distributor],
                options,
            ]
            .concat(),
        );
        assert_eq!(one_clang_per_job(&tree), 2);
        assert_eq!(says(&tree, "program"), SAYS);
        let commands = said.lines().filter(|line| line.contains(" -x ir "));
        assert_eq!(commands.count(), 2 * options.len(), "{said}");
    }
}

#[test]
fn hundreds_of_jobs_run_in_one_process() {
    const COUNT: usize = 200;
    let tree = Tree::new();
    let mut sources = Vec::new();
    for number in 0..COUNT {
        let next = (number + 1) % COUNT;
        let name = format!("part {number}.c");
        tree.write(
            &name,
            format!("int f{next}(int); int f{number}(int x) {{ return x <= 0 ? {number} : f{next}(x - 1) ^ x; }}"),
        );
        sources.push(name);
    }
    tree.write(
        "main.c",
        "#include <stdio.h>\nint f0(int); int main(void) { printf(\"%d\\n\", f0(3)); }",
    );
    sources.push("main.c".into());
    let front = ["-flto=thin", "-O1", "-c"].map(str::to_owned);
    succeed(&tree.run(CLANG, &[&front[..], &sources].concat()));
    let objects: Vec<String> = sources.iter().map(|s| s.replace(".c", ".o")).collect();
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    let args = ["-Wl,--save-temps", "-o", "program", &linked_by(LINKER)];
    link(&tree, &[&objects, &args[..]].concat());
    assert_eq!(one_clang_per_job(&tree), COUNT + 1);
    assert_eq!(says(&tree, "program"), "3\n");
}

#[test]
fn errors_name_the_module_and_leave_no_program() {
    let tree = two_modules(&[]);
    tree.compile("broken one", "void f(void) { __asm__(\"bogus\"); }", &[]);
    succeed(&tree.run(AR, &["rcs", "lib.a", "broken one.o"]));
    let [linker, distributor] = by_backlto();
    let ours = linked_by(LINKER);
    let by_hand = [&*linker, &distributor];
    let linkers: &[&[&str]] = match lld_distributes() {
        true => &[&by_hand, &[&ours]],
        false => &[&[&ours]],
    };
    for linker in linkers {
        for input in ["broken one.o", "lib.a"] {
            let args = [
                "-flto=thin",
                "main.o",
                "scale.o",
                "-Wl,-u,f",
                "-o",
                "program",
            ];
            let output = tree.run(CLANG, &[&args[..], &[input], linker].concat());
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("bogus"), "{said}");
            assert!(
                said.contains("failed to compile") && said.contains("broken one.o"),
                "{said}"
            );
            if lld_distributes() {
                assert!(said.contains("DTLTO backend compilation"), "{said}");
            }
            assert!(!tree.file("program").exists());
            let left: Vec<_> = tree
                .files()
                .into_keys()
                .filter(|n| n.contains("native"))
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

/// The jobs of a link, and the file that describes them.
fn kept_jobs() -> (Tree, String) {
    let tree = two_modules(&[]);
    let args = ["main.o", "scale.o", "-Wl,--save-temps", "-o", "program"];
    link(&tree, &[&args, &[&*linked_by(LINKER)][..]].concat());
    let name = tree
        .files()
        .into_keys()
        .find(|name| name.ends_with(".dist-file.json"))
        .expect("the jobs were kept");
    (tree, name)
}

#[test]
fn jobs_run_by_hand_and_later_fields_do_not_matter() {
    let (tree, name) = kept_jobs();
    let mut jobs: serde_json::Value = serde_json::from_slice(&tree.read(&name)).expect("JSON");
    jobs["version"] = 2.into();
    jobs["common"]["environment"] = serde_json::json!({ "A": null });
    jobs["jobs"][0]["weight"] = serde_json::json!([1, 2.5]);
    tree.write(&name, jobs.to_string());
    tree.write("jobs.json", jobs.to_string());
    for args in [
        &[&*name][..],
        &["-j1", &name],
        &["distribute", "jobs.json"],
        // The names of doors are good for other things.
        &["--cache-dir", "cache", &name],
        &["--trace", "report", "-j1", &name],
    ] {
        let remove = |name: String| std::fs::remove_file(tree.file(&name)).expect("removed");
        let objects = |name: &String| name.ends_with(".native.o");
        tree.files().into_keys().filter(objects).for_each(remove);
        succeed(&tree.run(BACKLTO, args));
        assert_eq!(one_clang_per_job(&tree), 2, "{args:?}");
    }
}

#[test]
fn damaged_descriptions_are_refused_by_name() {
    let (tree, name) = kept_jobs();
    let whole = tree.read(&name);
    let refused = |what: &str| {
        let output = tree.run(BACKLTO, &[&name]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(
            said.contains("cannot read jobs from") && said.contains(&name),
            "{what}: {said}"
        );
    };
    let text = String::from_utf8(whole.clone()).expect("JSON is text");
    for length in (0..text.trim_end().len()).step_by(97) {
        tree.write(&name, &text[..length]);
        refused("cut off");
    }
    for (from, to) in [
        ("\"jobs\"", "\"none\""),
        ("\"outputs\"", "\"x\""),
        ("[", "{"),
    ] {
        assert!(text.contains(from));
        tree.write(&name, text.replace(from, to));
        refused(to);
    }
    std::fs::remove_file(tree.file(&name)).expect("removed");
    refused("missing");
}

#[test]
fn missing_inputs_are_named() {
    let (tree, name) = kept_jobs();
    std::fs::remove_file(tree.file("scale.o")).expect("removed");
    let output = tree.run(BACKLTO, &[&name]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("scale.o"), "{}", stderr(&output));
}

/// Links print nothing when all is well.
#[test]
fn an_audited_link_is_as_any_other() {
    let tree = two_modules(&[]);
    let linked_by = linked_by(LINKER);
    let link = |audit: &str| {
        let mut command = Command::new(CLANG);
        command
            .args(["-flto=thin", "-O2", "main.o", "scale.o", "-o", "program"])
            .arg(&linked_by)
            .current_dir(tree.path())
            .env("BACKLTO_CACHE_DIR", tree.file("cache"))
            .env("BACKLTO_AUDIT", audit);
        command.output().expect("clang runs")
    };
    let link_well = |audit: &str| {
        let output = link(audit);
        succeed(&output);
        assert_eq!((output.stdout.len(), &*stderr(&output)), (0, ""));
        assert_eq!(says(&tree, "program"), SAYS);
        tree.read("program")
    };
    assert!(link_well("") == link_well("100%"));
    // The variable does reach those who compile.
    let output = link("nonsense");
    assert!(!output.status.success() && stderr(&output).contains("expected a share"));
}
