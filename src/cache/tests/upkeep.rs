//! What stays in a cache and what goes, and who counts.

use super::*;
use crate::cache::Problem;

fn policy(text: &str) -> Policy {
    text.parse().expect(text)
}

/// No limit but those that are set in `text`.
fn only(text: &str) -> Policy {
    policy(&format!(
        "prune_after=0s:cache_size=0%:cache_size_files=0:{text}"
    ))
}

fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

fn in_future(seconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(seconds)
}

/// A cache of objects `1`, `2`, … of 10 bytes each, last used as said.
fn with_objects(used: &[SystemTime]) -> (TempDir, Store, Vec<Digest>) {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    let names = (1..=used.len())
        .map(|number| cache.insert(format!("{number:010}").as_bytes()).unwrap())
        .collect::<Vec<_>>();
    let store = cache.store.clone();
    cache.finish();
    std::fs::remove_file(store.part(prune::TIMESTAMP)).unwrap();
    for (name, used) in names.iter().zip(used) {
        set_used(&store, Shelf::Objects, name, *used);
    }
    (directory, store, names)
}

fn set_used(store: &Store, shelf: Shelf, name: &Digest, used: SystemTime) {
    let (file, _) = store.open(shelf, name).unwrap();
    store::set_used(&file, used).unwrap();
}

fn used(store: &Store, shelf: Shelf, name: &Digest) -> SystemTime {
    store.open(shelf, name).unwrap().1.modified().unwrap()
}

/// The numbers of the objects that are still there.
fn left(store: &Store, names: &[Digest]) -> Vec<usize> {
    (1..=names.len())
        .filter(|number| store.path(Shelf::Objects, &names[number - 1]).exists())
        .collect()
}

fn prune(store: &Store, policy: &Policy) -> Pruned {
    store
        .prune_at(policy, SystemTime::now(), true)
        .unwrap()
        .expect("it was forced")
}

#[test]
fn the_least_recently_used_goes_first() {
    let times = [ago(300), ago(500), ago(100), ago(400), ago(200)];
    for (limit, expected) in [
        ("cache_size_files=2", vec![3, 5]),
        ("cache_size_bytes=39", vec![1, 3, 5]),
        ("cache_size_bytes=40", vec![1, 3, 4, 5]),
        ("prune_after=250s", vec![3, 5]),
        ("prune_after=250s:cache_size_bytes=10", vec![3]),
        ("prune_after=1h", vec![1, 2, 3, 4, 5]),
        ("cache_size=100%", vec![1, 2, 3, 4, 5]),
    ] {
        let (_directory, store, names) = with_objects(&times);
        let limit = only(limit);
        let pruned = prune(&store, &limit);
        assert_eq!(left(&store, &names), expected, "{limit}");
        let removed = times.len() - expected.len();
        assert_eq!(pruned.removed_objects, removed as u64);
        assert_eq!(pruned.removed_bytes, 10 * removed as u64);
        assert_eq!(
            (pruned.objects, pruned.kept_for_builds),
            (expected.len() as u64, false)
        );
    }
}

#[test]
fn entries_go_with_the_objects_of_their_time() {
    let (directory, store, names) = with_objects(&[ago(300), ago(100)]);
    let cache = open(directory.path());
    for (name, time) in [(b"old", ago(301)), (b"new", ago(101))] {
        cache.store(&key(name), b"entry");
        set_used(&store, Shelf::Actions, &key(name), time);
    }
    drop(cache);
    let pruned = prune(&store, &only("cache_size_files=1"));
    assert_eq!((pruned.removed_entries, pruned.removed_objects), (1, 1));
    assert_eq!(left(&store, &names), [2]);
    assert!(store.path(Shelf::Actions, &key(b"new")).exists());
}

#[test]
fn without_limits_nothing_goes() {
    let (_directory, store, _) = with_objects(&[SystemTime::UNIX_EPOCH]);
    assert_eq!(
        store.prune_at(&only(""), SystemTime::now(), true).unwrap(),
        None
    );
}

#[test]
fn what_a_running_build_has_used_stays() {
    let (directory, store, names) = with_objects(&[ago(500), ago(400), ago(300), ago(200)]);
    let everything = only("cache_size_bytes=1");
    let build = open(directory.path());
    build.store(&key(KEY), b"entry");
    let output = directory.path().join("out.o");
    assert!(build.place(&names[1], 10, &output, Placement::Own));
    assert_eq!(
        build.insert(b"0000000004"),
        Some(names[3]),
        "used, though not written"
    );
    // Another that started later does not matter, nor does one that ends.
    let later = open(directory.path());
    let pruned = prune(&store, &everything);
    assert_eq!(left(&store, &names), [2, 4]);
    assert!(pruned.kept_for_builds);
    later.finish();
    assert!(build.lookup(&key(KEY)).is_some());
    build.finish();
    let pruned = prune(&store, &everything);
    assert_eq!((pruned.entries, pruned.objects, pruned.bytes), (0, 0, 0));
}

#[test]
fn a_lookup_keeps_the_entry() {
    let (directory, store, _) = with_objects(&[]);
    let build = open(directory.path());
    build.store(&key(KEY), b"entry");
    set_used(&store, Shelf::Actions, &key(KEY), ago(1000));
    assert!(build.lookup(&key(KEY)).is_some());
    prune(&store, &only("prune_after=1s"));
    assert!(build.lookup(&key(KEY)).is_some());
}

#[test]
fn the_mark_of_a_killed_build_does_not_count() {
    let (_directory, store, names) = with_objects(&[ago(300), ago(200)]);
    let running = store.part("running");
    let mark = running.join("build-killed");
    let file = File::create_new(&mark).unwrap();
    store::set_used(&file, ago(400)).unwrap();
    assert_eq!(running::builds(&running, SystemTime::now()).unwrap(), []);
    assert!(!mark.exists());

    let build = Running::begin(&running, ago(250)).unwrap();
    assert_eq!(
        running::builds(&running, SystemTime::now()).unwrap(),
        [build.started]
    );
    prune(&store, &only("cache_size_bytes=1"));
    assert_eq!(left(&store, &names), [2]);
    drop(build);
    assert!(std::fs::read_dir(&running).unwrap().next().is_none());
}

#[test]
fn a_build_started_while_marks_are_removed_keeps_its_mark() {
    let directory = tempfile::tempdir().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    running::builds(directory.path(), SystemTime::now()).unwrap();
                }
            });
        }
        let kept = (0..2000).all(|_| {
            let build = Running::begin(directory.path(), SystemTime::now()).unwrap();
            let builds = running::builds(directory.path(), SystemTime::now()).unwrap();
            builds.contains(&build.started)
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(kept);
    });
}

#[test]
fn times_in_the_future_are_set_right() {
    let (_directory, store, names) = with_objects(&[in_future(9999), ago(100)]);
    let now = SystemTime::now();
    let week = policy("prune_after=168h");
    store.prune_at(&week, now, true).unwrap();
    assert_eq!(used(&store, Shelf::Objects, &names[0]), now);
    assert_eq!(left(&store, &names), [1, 2]);
    let later = now + Duration::from_secs(8 * 24 * 3600);
    store.prune_at(&week, later, true).unwrap();
    assert_eq!(left(&store, &names), [0; 0]);
}

#[test]
fn a_clock_that_is_set_back_during_a_build_does_no_harm() {
    let (directory, store, names) = with_objects(&[ago(100), ago(90), in_future(5000)]);
    let mut build = open(directory.path());
    let running = Running::begin(&store.part("running"), in_future(1000)).unwrap();
    build.started = running.started;
    build.running = Some(running);
    build.store(&key(KEY), b"entry");
    assert_eq!(build.insert(b"0000000002"), Some(names[1]));
    assert_eq!(build.insert(b"0000000003"), Some(names[2]));
    prune(&store, &only("cache_size_bytes=1"));
    assert_eq!(left(&store, &names), [2, 3]);
    assert!(build.lookup(&key(KEY)).is_some());
}

#[test]
fn pruning_waits_for_the_interval() {
    let (_directory, store, _) = with_objects(&[ago(100)]);
    let now = SystemTime::now();
    let minute = only("prune_after=1h:prune_interval=1m");
    let after = |seconds| now + Duration::from_secs(seconds);
    let prune = |time, force| store.prune_at(&minute, time, force).unwrap().is_some();
    assert!(prune(now, false), "it never was");
    assert!(!prune(after(60), false));
    assert!(prune(after(60), true));
    assert!(!prune(after(120), false));
    assert!(prune(after(121), false));
    assert!(prune(now, false), "the clock was set back");
    let always = only("prune_after=1h:prune_interval=0s");
    assert!(store.prune_at(&always, after(1), false).unwrap().is_some());

    let busy = File::open(store.part(prune::TIMESTAMP)).unwrap();
    rustix::fs::flock(&busy, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(!prune(after(1000), false), "somebody else does");
}

#[test]
fn a_build_prunes_when_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let small = only("cache_size_bytes=1:prune_interval=0s");
    let cache = Cache::open(directory.path(), small, false).unwrap();
    cache.insert(b"object").unwrap();
    let pruned = cache.finish().pruned.expect("it is time");
    assert_eq!((pruned.removed_objects, pruned.kept_for_builds), (1, false));
}

#[test]
fn what_killed_writers_leave_goes_after_a_while() {
    let (_directory, store, names) = with_objects(&[ago(10)]);
    let shelf = store.path(Shelf::Objects, &names[0]);
    let temporary = |name: &str, time| {
        let path = shelf.with_file_name(name);
        store::set_used(&File::create(&path).unwrap(), time).unwrap();
        path
    };
    let old = temporary(".0123.xyz.backlto-tmp", ago(7200));
    let new = temporary(".4567.xyz.backlto-tmp", ago(60));
    let foreign = temporary("note", ago(7200));
    prune(&store, &Policy::default());
    assert!(!old.exists() && new.exists() && foreign.exists() && shelf.exists());
}

#[test]
fn inserting_and_pruning_at_once_never_gives_a_wrong_byte() {
    let directory = tempfile::tempdir().unwrap();
    let cache_directory = directory.path().join("cache");
    let caches = [open(&cache_directory), open(&cache_directory)];
    // So that what they use goes too.
    let store = caches[0].store.clone();
    let caches = caches.map(|mut cache| {
        cache.running = None;
        cache
    });
    let object = |number: usize| vec![u8::try_from(number).unwrap(); 1 + number * 777];
    let pruned = std::thread::scope(|threads| {
        for (worker, cache) in caches.iter().chain(&caches).enumerate() {
            let output = directory.path().join(format!("{worker}.o"));
            threads.spawn(move || {
                for round in 0..400 {
                    let number = (round * 7 + worker) % 20;
                    let bytes = object(number);
                    let key = key(&number.to_le_bytes());
                    let how = match round % 2 {
                        0 => Placement::Own,
                        _ => Placement::Transient,
                    };
                    match cache.lookup(&key) {
                        Some(entry) => {
                            let digest = Digest::from_bytes(entry.try_into().unwrap());
                            if cache.place(&digest, bytes.len() as u64, &output, how) {
                                assert_eq!(std::fs::read(&output).unwrap(), bytes);
                            }
                        }
                        None => {
                            let digest = cache.insert(&bytes).expect("there is room");
                            assert_eq!(digest, Digest::of(&bytes));
                            cache.store(&key, digest.as_bytes());
                        }
                    }
                }
            });
        }
        let prune = || {
            (0..200)
                .map(|_| {
                    let few = only("cache_size_files=3");
                    store
                        .prune_at(&few, SystemTime::now(), true)
                        .unwrap()
                        .unwrap()
                        .removed_objects
                })
                .sum::<u64>()
        };
        let pruners = [threads.spawn(prune), threads.spawn(prune)];
        pruners.map(|pruner| pruner.join().unwrap())
    });
    assert!(pruned.iter().sum::<u64>() > 0, "nothing raced");
    for cache in caches {
        let summary = cache.finish();
        assert_eq!((summary.first_error, summary.totals.errors), (None, 0));
    }
    assert_eq!(store.verify().unwrap().problems, []);
    store
        .remove_leftovers(Shelf::Objects, in_future(1))
        .unwrap();
    store.clear().unwrap();
    assert_eq!(
        std::fs::read_dir(&cache_directory).unwrap().count(),
        0,
        "not even a temporary"
    );
}

#[test]
fn builds_add_up_what_they_count() {
    let directory = tempfile::tempdir().unwrap();
    let builds = 16;
    std::thread::scope(|threads| {
        for _ in 0..builds {
            threads.spawn(|| {
                let cache = open(directory.path());
                cache.count_hit(Hit::Primary, Duration::from_millis(1500));
                cache.count_hit(Hit::AfterImport, Duration::from_millis(500));
                cache.count_miss();
                cache.store(&key(KEY), b"");
                assert_eq!(cache.totals().hits(), 2);
                assert_eq!(cache.finish().first_error, None);
            });
        }
    });
    let store = Store::at(directory.path()).unwrap();
    let survey = store.survey().unwrap();
    assert_eq!(
        (survey.entries, survey.objects, survey.running_builds),
        (1, 0, 0)
    );
    let counters = survey.counters;
    let counted = [
        counters.builds,
        counters.hits_primary,
        counters.misses,
        counters.stores,
    ];
    assert_eq!(counted, [builds; 4]);
    assert_eq!(counters.hits(), 2 * builds);
    assert_eq!(counters.seconds_saved, 32.0);

    std::fs::write(store.part(counters::FILE), "{").unwrap();
    open(directory.path()).finish();
    assert_eq!(
        store.survey().unwrap().counters.builds,
        1,
        "a damaged file counts nothing"
    );
}

#[test]
fn no_count_is_lost_when_builds_end_at_once() {
    let (_directory, store, _) = with_objects(&[]);
    let one = Totals {
        misses: 1,
        ..Totals::default()
    };
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                (0..100).for_each(|_| counters::accumulate(&store, &one).unwrap());
            });
        }
    });
    assert_eq!(store.survey().unwrap().counters.misses, 400);
}

#[test]
fn verify_removes_what_is_damaged() {
    let (directory, store, names) = with_objects(&[ago(2), ago(1)]);
    let cache = open(directory.path());
    cache.store(&key(b"good"), b"entry");
    cache.store(&key(KEY), b"entry");
    assert_eq!(store.verify().unwrap().problems, []);

    let damaged = [
        store.path(Shelf::Actions, &key(KEY)),
        store.path(Shelf::Objects, &names[1]),
    ];
    for path in &damaged {
        let mut bytes = std::fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let verified = store.verify().unwrap();
    assert_eq!((verified.entries, verified.objects), (2, 2));
    let expected = damaged.clone().map(|file| Problem {
        file,
        reason: "damaged".to_owned(),
        removed: true,
    });
    assert_eq!(verified.problems, expected);
    assert!(damaged.iter().all(|path| !path.exists()));
    assert_eq!(store.verify().unwrap().problems, []);
}

#[test]
fn clear_leaves_what_is_not_ours_and_refuses_while_a_build_runs() {
    let (directory, store, _) = with_objects(&[ago(1), ago(1)]);
    let foreign = directory.path().join("v1/letter");
    std::fs::write(&foreign, "").unwrap();
    let build = open(directory.path());
    let error = store.clear().unwrap_err();
    assert!(
        error.to_string().ends_with("a running build uses it"),
        "{error}"
    );
    build.finish();

    let cleared = store.clear().unwrap();
    assert_eq!((cleared.files, cleared.bytes), (2, 20));
    assert_eq!(
        std::fs::read_dir(directory.path().join("v1"))
            .unwrap()
            .count(),
        1
    );
    std::fs::remove_file(foreign).unwrap();
    store.clear().unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert_eq!(store.survey().unwrap().entries, 0);
    assert_eq!(
        store
            .prune_at(&Policy::default(), SystemTime::now(), true)
            .unwrap(),
        None
    );
}

#[test]
fn a_build_goes_on_after_its_cache_was_cleared() {
    let (directory, store, _) = with_objects(&[]);
    let mut cache = open(directory.path());
    cache.running = None;
    store.clear().unwrap();
    cache.store(&key(KEY), b"entry");
    let digest = cache.insert(b"object").unwrap();
    assert!(cache.lookup(&key(KEY)).is_some());
    let output = directory.path().join("out.o");
    assert!(cache.place(&digest, 6, &output, Placement::Own));
    assert_eq!(cache.totals().errors, 0);
}
