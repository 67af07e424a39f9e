//! A cache that others can write to is not used.

use super::*;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Why the cache in `directory` is refused; empty if it is not.
fn refusal(directory: &Path) -> String {
    let opened = Cache::open(directory, Policy::default(), false);
    opened.err().map_or(String::new(), |e| e.to_string())
}

#[test]
fn nobody_else_may_write_to_a_directory_of_it() {
    let (directory, cache, _, _) = filled(b"object");
    drop(cache);
    let cache = directory.path().join("cache");
    assert_eq!(refusal(&cache), "");
    let shelf = cache.join("v1/objects");
    let leaf = std::fs::read_dir(&shelf).unwrap().next().unwrap();
    let leaf = leaf.unwrap().path();
    for own in [
        cache.clone(),
        cache.join("v1"),
        cache.join("v1/actions"),
        shelf,
        leaf,
    ] {
        // The sticky bit keeps nobody from adding to it.
        for (mode, who) in [
            (0o775, "group "),
            (0o757, "everybody"),
            (0o1777, "everybody"),
        ] {
            set_mode(&own, mode);
            let said = refusal(&cache);
            let named = format!("can write to `{}`", own.display());
            assert!(
                said.contains(who) && said.contains(&named),
                "{mode:o}: {said}"
            );
            assert!(Cache::open(&cache, Policy::default(), true).is_ok());
        }
        set_mode(&own, 0o755);
        assert_eq!(refusal(&cache), "");
    }
}

#[test]
fn nobody_else_may_put_another_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let above = directory.path().join("above");
    let (cache, link) = (above.join("between/cache"), directory.path().join("link"));
    std::fs::create_dir_all(&above).unwrap();
    std::os::unix::fs::symlink(above.join("between"), &link).unwrap();
    for exists in [false, true] {
        for (mode, is_refused) in [
            (0o777, true),
            (0o775, true),
            (0o1777, false),
            (0o755, false),
        ] {
            set_mode(&above, mode);
            if exists {
                let by_link = link.join("cache");
                for path in [&cache, &by_link] {
                    assert_eq!(!refusal(path).is_empty(), is_refused, "{mode:o}");
                }
            } else if is_refused {
                assert_ne!(refusal(&cache), "", "{mode:o}");
                assert!(!cache.exists());
            }
        }
        open(&cache);
    }
}

#[test]
fn the_owner_is_this_user_or_root() {
    let (directory, cache, _, _) = filled(b"object");
    drop(cache);
    let cache = directory.path().join("cache");
    for owned in [cache.clone(), directory.path().to_owned()] {
        if let Err(e) = std::os::unix::fs::chown(&owned, Some(65533), None) {
            eprintln!("skipped: only root gives files away: {e}");
            return;
        }
        assert!(
            refusal(&cache).contains("user 65533 can write to"),
            "{}",
            refusal(&cache)
        );
        std::os::unix::fs::chown(&owned, Some(rustix::process::geteuid().as_raw()), None).unwrap();
    }
}
