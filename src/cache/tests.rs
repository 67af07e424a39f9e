//! What a build gets from a cache, whatever happened to its files.

#[path = "../../tests/common/mounted.rs"]
mod mounted;
mod trust;
mod upkeep;

use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use tempfile::TempDir;

use self::mounted::Mounted;
use super::*;

const KEY: &[u8] = b"key";
const ENTRY: &[u8] = b"what the key stands for";

fn key(name: &[u8]) -> Digest {
    Digest::of(name)
}

fn open(directory: &Path) -> Cache {
    Cache::open(directory, Policy::default(), false).expect("a cache")
}

/// A cache that holds [`ENTRY`] and `object`, and a directory for outputs.
fn filled(object: &[u8]) -> (TempDir, Cache, Digest, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory.path().join("cache"));
    cache.store(&key(KEY), ENTRY);
    let digest = cache.insert(object).expect("it is stored");
    let output = directory.path().join("out.o");
    (directory, cache, digest, output)
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Writes over a cached file, as somebody who should not.
fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_goes_in_comes_out() {
    let object = b"object".repeat(1000);
    let (directory, cache, digest, output) = filled(&object);
    assert_eq!(cache.lookup(&key(KEY)).as_deref(), Some(ENTRY));
    assert_eq!(cache.lookup(&key(b"other")), None);
    assert_eq!(cache.insert(&object), Some(digest));

    std::fs::write(&output, "old").unwrap();
    let before = output.metadata().unwrap();
    for how in [Placement::Own, Placement::Transient] {
        assert!(cache.place(&digest, object.len() as u64, &output, how));
        assert_eq!(std::fs::read(&output).unwrap(), object);
    }
    assert!(cache.place(&digest, object.len() as u64, &output, Placement::Own));
    let after = output.metadata().unwrap();
    assert_eq!(after.mode(), before.mode(), "the umask's");
    assert!(after.modified().unwrap() >= before.modified().unwrap());
    assert_eq!(names_in(directory.path()), ["cache", "out.o"]);

    cache.store(&key(KEY), b"new");
    assert_eq!(cache.lookup(&key(KEY)).as_deref(), Some(b"new".as_slice()));
    let totals = cache.totals();
    assert_eq!((totals.stores, totals.bytes_stored), (2, 6000));
    assert_eq!((totals.bytes_served, totals.errors), (18000, 0));

    // The next process finds the same.
    assert_eq!(cache.finish().first_error, None);
    let cache = open(&directory.path().join("cache"));
    assert_eq!(cache.lookup(&key(KEY)).as_deref(), Some(b"new".as_slice()));
    assert!(cache.place(&digest, 6000, &output, Placement::Own));
}

#[test]
fn nothing_at_all_can_be_stored_too() {
    let (_directory, cache, digest, output) = filled(b"");
    cache.store(&key(b"none"), b"");
    assert_eq!(cache.lookup(&key(b"none")), Some(Vec::new()));
    assert!(cache.place(&digest, 0, &output, Placement::Own));
    assert_eq!(std::fs::read(&output).unwrap(), b"");
}

#[test]
fn cached_files_are_read_only() {
    let (_directory, cache, digest, _) = filled(b"object");
    for (shelf, name) in [(Shelf::Actions, key(KEY)), (Shelf::Objects, digest)] {
        let mode = cache
            .store
            .path(shelf, &name)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o222, 0, "{shelf:?}");
    }
}

#[test]
fn a_damaged_entry_is_a_miss() {
    let (_directory, cache, ..) = filled(b"object");
    let path = cache.store.path(Shelf::Actions, &key(KEY));
    let good = std::fs::read(&path).unwrap();
    cache.store(&key(b"other"), ENTRY);
    let misplaced = std::fs::read(cache.store.path(Shelf::Actions, &key(b"other"))).unwrap();

    let truncated = (0..good.len()).map(|length| good[..length].to_vec());
    let flipped = (0..good.len()).map(|at| {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        bad
    });
    let longer = [good.as_slice(), b"\0"].concat();
    // The right start and the right key, and a checksum of something else.
    let forged = [&good[..48], &misplaced[48..]].concat();
    for bad in truncated.chain(flipped).chain([misplaced, longer, forged]) {
        overwrite(&path, &bad);
        assert_eq!(cache.lookup(&key(KEY)), None, "{bad:?}");
        assert!(!path.exists(), "it is removed");
        std::fs::write(&path, &good).unwrap();
        assert_eq!(cache.lookup(&key(KEY)).as_deref(), Some(ENTRY));
    }
}

#[test]
fn a_damaged_object_is_a_miss_and_leaves_the_output() {
    let object = b"the object";
    let (directory, cache, digest, output) = filled(object);
    let path = cache.store.path(Shelf::Objects, &digest);
    for how in [Placement::Own, Placement::Transient] {
        for bad in [
            b"".as_slice(),
            b"the objec",
            b"the object ",
            b"the Object",
            b"tie object",
        ] {
            overwrite(&path, bad);
            std::fs::write(&output, "old").unwrap();
            assert!(
                !cache.place(&digest, object.len() as u64, &output, how),
                "{bad:?}"
            );
            assert_eq!(std::fs::read(&output).unwrap(), b"old");
            assert!(!path.exists(), "it is removed");
            assert!(!cache.place(&digest, object.len() as u64, &output, how));
            assert_eq!(cache.insert(object), Some(digest), "and can come back");
        }
    }
    assert_eq!(names_in(directory.path()), ["cache", "out.o"]);
    let error = cache.finish().first_error.unwrap();
    assert!(
        error.contains(path.to_str().unwrap()) && error.ends_with("was damaged"),
        "{error}"
    );
}

#[test]
fn a_damaged_object_of_another_size_is_replaced() {
    let (_directory, cache, digest, output) = filled(b"object");
    overwrite(&cache.store.path(Shelf::Objects, &digest), b"");
    assert_eq!(cache.insert(b"object"), Some(digest));
    assert!(cache.place(&digest, 6, &output, Placement::Own));
}

#[test]
fn what_is_no_file_is_a_miss_and_nobody_waits_for_it() {
    let (_directory, cache, digest, output) = filled(b"object");
    for (shelf, name) in [(Shelf::Actions, key(KEY)), (Shelf::Objects, digest)] {
        let path = cache.store.path(shelf, &name);
        std::fs::remove_file(&path).unwrap();
        make_pipe(&path);
    }
    assert_eq!(cache.lookup(&key(KEY)), None);
    assert!(!cache.place(&digest, 6, &output, Placement::Own));
}

fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn an_output_that_is_no_file_is_written_to() {
    let (_directory, cache, digest, output) = filled(b"object");
    make_pipe(&output);
    for how in [Placement::Own, Placement::Transient] {
        // Open for both, so that nobody waits for another end.
        let mut options = std::fs::OpenOptions::new();
        let mut pipe = options.read(true).write(true).open(&output).unwrap();
        assert!(cache.place(&digest, 6, &output, how));
        assert!(output.symlink_metadata().unwrap().file_type().is_fifo());
        let mut bytes = [0; 6];
        pipe.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"object");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_no_damage() {
    let (directory, cache, digest, output) = filled(b"object");
    let nowhere = directory.path().join("missing/out.o");
    for how in [Placement::Own, Placement::Transient] {
        assert!(!cache.place(&digest, 6, &nowhere, how));
    }
    assert!(cache.place(&digest, 6, &output, Placement::Own));
    assert_eq!(cache.totals().errors, 0);
}

#[test]
fn only_transient_files_share_the_inode() {
    let (directory, cache, digest, output) = filled(b"object");
    let object = cache.store.path(Shelf::Objects, &digest);
    let inode = |path: &Path| path.metadata().unwrap().ino();
    // Twice, since the second time both names are of one file already.
    for _ in 0..2 {
        assert!(cache.place(&digest, 6, &output, Placement::Transient));
        assert_eq!(inode(&output), inode(&object));
        assert_eq!(names_in(directory.path()), ["cache", "out.o"]);
    }
    assert!(cache.place(&digest, 6, &output, Placement::Own));
    assert_ne!(inode(&output), inode(&object));
    // The user's file may be written to.
    std::fs::write(&output, "mine").unwrap();
    assert_eq!(std::fs::read(&object).unwrap(), b"object");
}

#[test]
fn writing_through_a_hard_link_is_noticed() {
    let (_directory, cache, digest, output) = filled(b"object");
    assert!(cache.place(&digest, 6, &output, Placement::Transient));
    std::fs::set_permissions(&output, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&output, "OBJECT").unwrap();
    assert!(!cache.place(&digest, 6, &output, Placement::Own));
}

#[test]
fn another_file_system_gets_a_copy() {
    let (directory, cache, digest, _) = filled(b"object");
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        return eprintln!("skipped: no /dev/shm");
    };
    let device = |path: &Path| path.metadata().unwrap().dev();
    if device(elsewhere.path()) == device(directory.path()) {
        return eprintln!("skipped: /dev/shm is the same file system");
    }
    let output = elsewhere.path().join("out.o");
    for how in [Placement::Own, Placement::Transient] {
        assert!(cache.place(&digest, 6, &output, how));
        assert_eq!(std::fs::read(&output).unwrap(), b"object");
    }
    assert_eq!(names_in(elsewhere.path()), ["out.o"]);
}

#[test]
fn a_read_only_cache_gives_what_it_has() {
    let Some(mounted) = Mounted::new("256k") else {
        return;
    };
    let directory = mounted.path().join("cache");
    let cache = open(&directory);
    assert_eq!(cache.read_only(), None);
    cache.store(&key(KEY), ENTRY);
    let digest = cache.insert(b"object").unwrap();
    let damaged = cache.insert(b"damaged").unwrap();
    overwrite(&cache.store.path(Shelf::Objects, &damaged), b"Damaged");
    cache.finish();
    if !mounted.close() {
        return;
    }

    let cache = open(&directory);
    assert!(cache.read_only().unwrap().contains("Read-only"));
    assert_eq!(cache.lookup(&key(KEY)).as_deref(), Some(ENTRY));
    let elsewhere = tempfile::tempdir().unwrap();
    let output = elsewhere.path().join("out.o");
    assert!(cache.place(&digest, 6, &output, Placement::Own));
    assert!(!cache.place(&damaged, 7, &output, Placement::Own));
    cache.store(&key(b"new"), b"new");
    assert_eq!(cache.insert(b"new"), None);
    let totals = cache.totals();
    assert_eq!((totals.stores, totals.errors), (0, 1), "the damaged one");
    assert!(cache.finish().first_error.unwrap().ends_with("was damaged"));

    // One that was never filled, too.
    assert!(open(mounted.path()).read_only().is_some());
    assert!(Cache::open(&mounted.path().join("none"), Policy::default(), false).is_err());
}

#[test]
fn a_full_disk_is_counted_and_no_error() {
    let Some(mounted) = Mounted::new("256k") else {
        return;
    };
    let cache = open(&mounted.path().join("cache"));
    cache.store(&key(KEY), ENTRY);
    assert_eq!(cache.insert(&vec![1; 1 << 20]), None);
    assert_eq!(cache.lookup(&key(KEY)).as_deref(), Some(ENTRY));
    assert!(
        cache.insert(&vec![1; 1 << 10]).is_some(),
        "what fits is stored"
    );
    assert!(cache.store.files(Shelf::Objects).unwrap().len() == 1);
    let summary = cache.finish();
    assert_eq!(summary.totals.errors, 1);
    assert!(summary.first_error.unwrap().contains("No space left"));
}

#[test]
fn a_file_in_the_place_of_the_cache_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().to_owned(), file.path().join("below")] {
        let error = Cache::open(&path, Policy::default(), false)
            .err()
            .expect("an error");
        assert!(
            error.to_string().contains("cannot create the cache"),
            "{error}"
        );
    }
}

#[test]
fn only_a_directory_of_its_own_is_tagged() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path());
    let tag = std::fs::read(directory.path().join("CACHEDIR.TAG")).unwrap();
    assert!(tag.starts_with(b"Signature: 8a477f597d28d172789f06886806bc55\n"));

    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("letter"), "").unwrap();
    open(home.path());
    assert_eq!(names_in(home.path()), ["letter", "v1"]);
}

#[test]
fn the_environment_says_where_it_is() {
    let with = |variables: &[(&str, &str)]| {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name);
        default_directory(|name| find(name).map(|(_, value)| value.into()))
    };
    let all = [
        ("BACKLTO_CACHE_DIR", "c"),
        ("XDG_CACHE_HOME", "/x"),
        ("HOME", "/h"),
    ];
    assert_eq!(with(&all), Some("c".into()));
    assert_eq!(with(&all[1..]), Some("/x/backlto".into()));
    assert_eq!(with(&all[2..]), Some("/h/.cache/backlto".into()));
    assert_eq!(
        with(&[("BACKLTO_CACHE_DIR", ""), ("XDG_CACHE_HOME", "x"), all[2]]),
        with(&all[2..])
    );
    assert_eq!(with(&[]), None);
}

#[test]
fn a_link_to_a_device_gets_the_object_and_stays() {
    let (_directory, cache, digest, output) = filled(b"object");
    std::os::unix::fs::symlink("/dev/null", &output).unwrap();
    for how in [Placement::Own, Placement::Transient] {
        assert!(cache.place(&digest, 6, &output, how));
        assert!(output.is_symlink() && output.metadata().unwrap().file_type().is_char_device());
    }
}
