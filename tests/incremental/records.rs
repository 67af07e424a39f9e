//! The record beside the objects, and the objects, in every bad state. A record
//! may cost a compile, never an object that is wrong.

use serde_json::Value;

use crate::common::stderr;
use crate::project::{Built, Project, UTIL};

/// Whether everything was made again, or had from the cache.
#[track_caller]
fn all_again(built: &Built) {
    let again = built.cached.len() + built.imported.len() + built.compiled.len();
    assert_eq!(again, 5, "{built:?}");
}

#[test]
fn a_damaged_record_is_no_record() {
    let project = Project::built();
    let good = std::fs::read(project.record()).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let other_version = text.replacen("\"format\":2", "\"format\":3", 1);
    assert_ne!(other_version, text);
    let damaged = [
        Vec::new(),
        good[..good.len() / 2].to_vec(),
        good[..good.len() - 1].to_vec(),
        b"\0".repeat(good.len()),
        b"[]".to_vec(),
        b"{}".to_vec(),
        "[".repeat(100_000).into_bytes(),
        vec![0xff; 100],
        other_version.into_bytes(),
    ];
    for bytes in damaged {
        std::fs::write(project.record(), bytes).unwrap();
        let built = project.build();
        all_again(&built);
        assert_eq!(built.warnings, [""; 0]);
        project.build().nothing();
    }
    std::fs::remove_file(project.record()).unwrap();
    all_again(&project.build());
    // Not a file at all.
    std::fs::remove_file(project.record()).unwrap();
    std::fs::create_dir(project.record()).unwrap();
    for _ in 0..2 {
        let built = project.build();
        assert_eq!(built.cached.len() + built.compiled.len(), 5);
        assert!(
            built.warnings[0].contains(".plan.json.backlto"),
            "{built:?}"
        );
    }
    std::fs::remove_dir(project.record()).unwrap();
    project.build();
}

/// Every flipped bit is noticed, or does not matter.
#[test]
fn a_record_with_flipped_bits_never_keeps_a_wrong_object() {
    let project = Project::built();
    project.build().nothing();
    let good = std::fs::read(project.record()).unwrap();
    project.edit("util", &UTIL.replace("x * 2", "x * 6"));
    project.write("blob.bin", "flipped");
    let flips = 40;
    for number in 0..flips {
        let mut bytes = good.clone();
        let at = number * bytes.len() / flips;
        bytes[at] ^= 1 << (number % 8);
        std::fs::write(project.record(), bytes).unwrap();
        project.build();
    }
}

type Forge<'a> = dyn Fn(&mut Value) + 'a;

/// Records that can be read and are wrong.
#[test]
fn a_forged_record_is_found_out() {
    let project = Project::built();
    let good = project.json_record();
    let job = |record: &mut Value, name: &str| {
        record["objects"][format!("{name}.thinlto-native.o")].take()
    };
    let put = |record: &mut Value, name: &str, job: Value| {
        record["objects"][format!("{name}.thinlto-native.o")] = job;
    };
    let swap = |record: &mut Value, field: Option<&str>| {
        let (one, other) = (job(record, "util"), job(record, "alone"));
        match field {
            None => {
                put(record, "util", other);
                put(record, "alone", one);
            }
            Some(field) => {
                let (mut new_one, mut new_other) = (one.clone(), other.clone());
                new_one[field] = other[field].clone();
                new_other[field] = one[field].clone();
                put(record, "util", new_one);
                put(record, "alone", new_other);
            }
        }
    };
    let dependency = |record: &mut Value, part: &str, name: &str, digest: String| {
        let list = record["dependencies"].as_array_mut().unwrap();
        let is_it =
            |one: &&mut Value| one["part"] == part && (name.is_empty() || one["name"] == name);
        list.iter_mut().find(is_it).unwrap()["digest"] = digest.into();
    };
    let forgeries: [(&str, &Forge<'_>); 9] = [
        ("objects swapped, with all of them", &|record| {
            swap(record, None)
        }),
        ("contents swapped", &|record| swap(record, Some("object"))),
        ("what they are made of swapped", &|record| {
            swap(record, Some("made_of"))
        }),
        ("another module", &|record| {
            dependency(record, "module", "util.o", "0".repeat(64))
        }),
        ("another compiler", &|record| {
            dependency(record, "compiler", "", "0".repeat(64))
        }),
        ("other flags", &|record| {
            dependency(record, "flags", "", "0".repeat(64))
        }),
        ("a table that is too short", &|record| {
            record["flags"] = Value::Array(Vec::new())
        }),
        ("a hash that is none", &|record| {
            dependency(record, "module", "util.o", "A".repeat(64))
        }),
        ("a huge number", &|record| {
            let mut forged = job(record, "util");
            forged["made_of"][0] = Value::from(u64::MAX);
            put(record, "util", forged);
        }),
    ];
    for (what, forge) in forgeries {
        let mut record = good.clone();
        forge(&mut record);
        std::fs::write(project.record(), record.to_string()).unwrap();
        let built = project.build();
        let noticed = ["util", "alone"].map(str::to_owned);
        assert!(
            noticed.iter().any(|name| built.cached.contains(name)),
            "{what}: {built:?}"
        );
        project.build().nothing();
    }
    // The objects are swapped, not the record.
    let (one, other) = (project.object("util"), project.object("alone"));
    let (first, second) = (std::fs::read(&one).unwrap(), std::fs::read(&other).unwrap());
    std::fs::write(one, second).unwrap();
    std::fs::write(other, first).unwrap();
    project.build().only_from_cache("util alone");
}

#[test]
fn an_object_that_was_damaged_is_made_again() {
    let project = Project::built();
    let path = project.object("util");
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let longer = [&good[..], b"\0"].concat();
    for bytes in [&flipped[..], &good[..good.len() - 1], &longer, b""] {
        std::fs::write(&path, bytes).unwrap();
        project.build().only_from_cache("util");
        std::fs::write(&path, bytes).unwrap();
        project.build_with(&["--no-cache"]).compiled("util");
    }
    std::fs::remove_file(&path).unwrap();
    project.build().only_from_cache("util");
    // The same bytes are as good, whoever wrote them.
    std::fs::write(&path, good).unwrap();
    project.build().nothing();
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(project.object("alone"), &path).unwrap();
    project.build().only_from_cache("util");
}

#[test]
fn an_index_that_was_damaged_is_written_again() {
    let project = Project::built();
    for bytes in [&b""[..], b"BC\xc0\xde"] {
        project.write("main.o.thinlto.bc", bytes);
        project.build().nothing();
    }
}

/// A job that fails leaves nothing that a later build could take for success.
#[test]
fn a_job_that_failed_is_not_recorded() {
    let mut project = Project::built();
    let broken = "int alone(int x) { __asm__(\"nosuchinstruction\"); return x; }\n";
    let good = std::fs::read_to_string(project.file("alone.c")).unwrap();
    project.edit("alone", broken);
    project.edit("util", &UTIL.replace("x * 2", "x * 8"));
    for _ in 0..2 {
        let output = project.try_build(&["-k"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("invalid instruction"),
            "{}",
            stderr(&output)
        );
        assert_eq!(project.how("alone"), None);
    }
    // What did not fail is done.
    project.edit("alone", &good);
    project.build().did("", "alone", "");

    // A warning that is an error.
    let large = "void use(char *); void alone(void) { char a[999]; use(a); }\n";
    project.edit_with("alone", large, &["-Wframe-larger-than=100"]);
    project.set_flags(&["-Werror"]);
    for _ in 0..2 {
        let output = project.try_build(&["-k"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("-Werror,-Wframe-larger-than"),
            "{}",
            stderr(&output)
        );
        assert_eq!(project.how("alone"), None);
    }
    project.set_flags(&[]);
    project.build().did("alone", "main util blob inner", "");
}
