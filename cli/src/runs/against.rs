//! How a run differs from another one, an earlier one as a rule.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::data::{Module, Run};
use backlto::Origin;

/// A compile is slower or faster only if it is by a tenth and by so many seconds: two
/// compiles of the same differ too.
const NOISE_SECONDS: f64 = 0.02;
const NOISE: f64 = 1.1;

/// How a run differs from another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// The other run as a whole.
    pub(crate) other: Other,
    /// What takes longer to compile than it did, the most first.
    pub(crate) slower: Vec<Change<f64>>,
    /// What takes less long, the most first.
    pub(crate) faster: Vec<Change<f64>>,
    /// What was compiled in this run and not in the other one, which knew it too.
    pub(crate) compiled: Vec<usize>,
    /// How many were compiled in the other run and not in this one.
    pub(crate) spared: usize,
    /// Objects of another size, the greatest change first.
    pub(crate) resized: Vec<Change<u64>>,
    /// Modules that the other run did not know.
    pub(crate) added: Vec<usize>,
    /// Names of modules that only the other run knew.
    pub(crate) gone: Vec<String>,
}

/// What there is to say of the other run as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Other {
    /// As in [`Run`], and so are the following.
    pub(crate) directory: String,
    pub(crate) began: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_memory: Option<u64>,
    pub(crate) workers: usize,
    pub(crate) backlto: String,
    pub(crate) llvm: String,
    /// How many modules were compiled.
    pub(crate) compiled: usize,
    /// What all its objects have.
    pub(crate) object_bytes: u64,
}

/// A number of a module that is another one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change<T> {
    /// The module's number in this run.
    pub(crate) module: usize,
    /// In the other run.
    pub(crate) before: T,
    /// In this run.
    pub(crate) now: T,
}

impl Difference {
    /// How `run` differs from `other`. Modules are the same if their names are.
    pub(crate) fn of(run: &Run, other: &Run) -> Difference {
        let mut others: HashMap<_, &Module> = (0..other.modules.len())
            .map(|number| (other.name(number), &other.modules[number]))
            .collect();
        let mut difference = Difference {
            other: Other::of(other),
            slower: Vec::new(),
            faster: Vec::new(),
            compiled: Vec::new(),
            spared: 0,
            resized: Vec::new(),
            added: Vec::new(),
            gone: Vec::new(),
        };
        for (number, module) in run.modules.iter().enumerate() {
            match others.remove(&run.name(number)) {
                Some(other) => difference.add(number, module, other),
                None => difference.added.push(number),
            }
        }
        difference.gone = others.into_keys().map(|name| name.into_owned()).collect();
        difference.gone.sort();
        difference.sort();
        difference
    }

    /// Adds how `module`, which has `number`, differs from what it was in the `other` run.
    fn add(&mut self, number: usize, module: &Module, other: &Module) {
        if let (Some(before), Some(now)) = (other.compile_seconds, module.compile_seconds) {
            let change = Change {
                module: number,
                before,
                now,
            };
            if now - before > NOISE_SECONDS && now > before * NOISE {
                self.slower.push(change);
            } else if before - now > NOISE_SECONDS && before > now * NOISE {
                self.faster.push(change);
            }
        }
        match (is_compiled(other), is_compiled(module)) {
            (false, true) => self.compiled.push(number),
            (true, false) => self.spared += 1,
            _ => {}
        }
        let (before, now) = (other.object_bytes, module.object_bytes);
        if before != now && before > 0 && now > 0 {
            self.resized.push(Change {
                module: number,
                before,
                now,
            });
        }
    }

    fn sort(&mut self) {
        let by_time = |one: &Change<f64>, other: &Change<f64>| {
            let change = |it: &Change<f64>| (it.now - it.before).abs();
            change(other).total_cmp(&change(one))
        };
        self.slower.sort_by(by_time);
        self.faster.sort_by(by_time);
        let change = |it: &Change<u64>| it.now.abs_diff(it.before);
        self.resized.sort_by_key(|it| Reverse(change(it)));
    }
}

impl Other {
    fn of(run: &Run) -> Other {
        Other {
            directory: run.directory.clone(),
            began: run.began,
            seconds: run.seconds,
            cpu_seconds: run.cpu_seconds,
            peak_memory: run.peak_memory,
            workers: run.workers,
            backlto: run.backlto.clone(),
            llvm: run.llvm.clone(),
            compiled: run.modules.iter().filter(|one| is_compiled(one)).count(),
            object_bytes: run.modules.iter().map(|one| one.object_bytes).sum(),
        }
    }
}

/// Whether `module` was compiled in its run.
pub(crate) fn is_compiled(module: &Module) -> bool {
    module.how == Some(Origin::Compiled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, how: Origin, seconds: f64, object_bytes: u64) -> Module {
        Module {
            name: name.to_owned(),
            how: Some(how),
            compile_seconds: Some(seconds),
            object_bytes,
            ..Module::default()
        }
    }

    fn run(modules: Vec<Module>) -> Run {
        Run {
            places: vec![String::new()],
            modules,
            ..Run::default()
        }
    }

    #[test]
    fn every_kind_of_difference_is_found_and_noise_is_none() {
        use Origin::{Cached, Compiled, UpToDate};
        let old = run(vec![
            module("same.o", UpToDate, 1.0, 10),
            module("noise.o", Compiled, 1.0, 10),
            module("slower.o", Compiled, 1.0, 10),
            module("faster.o", Compiled, 1.0, 10),
            module("edited.o", UpToDate, 1.0, 10),
            module("spared.o", Compiled, 1.0, 10),
            module("gone.o", Compiled, 1.0, 10),
        ]);
        let new = run(vec![
            module("same.o", UpToDate, 1.0, 10),
            module("noise.o", Compiled, 1.05, 10),
            module("slower.o", Compiled, 1.5, 10),
            module("faster.o", Compiled, 0.5, 12),
            module("edited.o", Compiled, 1.0, 7),
            module("spared.o", Cached, 1.0, 10),
            module("added.o", Compiled, 1.0, 10),
        ]);
        let difference = Difference::of(&new, &old);
        let numbers =
            |changes: &[Change<f64>]| changes.iter().map(|c| c.module).collect::<Vec<_>>();
        assert_eq!(numbers(&difference.slower), [2]);
        assert_eq!(numbers(&difference.faster), [3]);
        assert_eq!((&*difference.compiled, difference.spared), (&[4][..], 1));
        let resized: Vec<_> = difference
            .resized
            .iter()
            .map(|c| (c.module, c.now))
            .collect();
        assert_eq!(resized, [(4, 7), (3, 12)]);
        assert_eq!(difference.added, [6]);
        assert_eq!(difference.gone, ["gone.o"]);
        assert_eq!(difference.other.compiled, 5);

        let none = Difference::of(&new, &new);
        assert!(none.slower.is_empty() && none.compiled.is_empty() && none.gone.is_empty());
        assert!(none.resized.is_empty() && none.added.is_empty() && none.spared == 0);
    }

    #[test]
    fn modules_of_one_name_in_two_places_are_two() {
        let mut one = run(vec![
            module("main.o", Origin::Compiled, 1.0, 10),
            module("main.o", Origin::Compiled, 1.0, 20),
        ]);
        one.places = vec![String::new(), "x86".into(), "arm64".into()];
        (one.modules[0].place, one.modules[1].place) = (1, 2);
        let mut other = one.clone();
        other.modules[1].object_bytes = 21;
        let difference = Difference::of(&other, &one);
        assert_eq!(difference.resized.len(), 1);
        assert_eq!(difference.resized[0].module, 1);
    }
}
