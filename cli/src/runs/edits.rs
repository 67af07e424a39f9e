//! What an edit of each module would cost: its own backend, and those of all modules that
//! import from it.

use std::time::Duration;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cores::simulate;
use super::data::{MOST_SECONDS, Module, Run, rounded};

/// What an edit of a module comes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Edit {
    /// How many backends are to be run.
    pub(crate) backends: usize,
    /// How long these take together, in seconds.
    pub(crate) together: f64,
    /// How long they take on the workers of the run, in seconds.
    pub(crate) seconds: f64,
}

/// How long the compile of each module takes, in seconds.
pub(crate) struct Costs {
    /// As it was, or by an estimate.
    pub(crate) seconds: Vec<f64>,
    /// How many are estimates.
    pub(crate) estimated: usize,
}

impl Costs {
    /// The costs of the modules of `run`. What was never seen to be compiled is estimated
    /// by its size, at the rate of the others; `None` if no compile is known.
    pub(crate) fn of(run: &Run) -> Option<Costs> {
        let modules = &run.modules;
        let known = modules.iter().filter_map(|module| {
            let seconds = module.compile_seconds?;
            Some((seconds, module.bytes))
        });
        let (seconds, bytes) = known.fold((0.0, 0), |sum: (f64, u64), (seconds, bytes)| {
            (sum.0 + seconds, sum.1.saturating_add(bytes))
        });
        let is_known = |module: &&Module| module.compile_seconds.is_some();
        let count = modules.iter().filter(is_known).count();
        if count == 0 {
            return None;
        }
        // Where no size is known, all are alike.
        let estimate = |module: &Module| match bytes {
            0 => seconds / count as f64,
            _ => seconds * module.bytes as f64 / bytes as f64,
        };
        let cost = |module: &Module| {
            let known = module.compile_seconds;
            known.unwrap_or_else(|| estimate(module).min(MOST_SECONDS))
        };
        Some(Costs {
            seconds: modules.iter().map(cost).collect(),
            estimated: modules.len() - count,
        })
    }
}

/// What an edit of each module of `run` would cost, if compiles take `costs`.
pub(crate) fn of(run: &Run, costs: &Costs) -> Vec<Edit> {
    let mut importers: Vec<Vec<usize>> = vec![Vec::new(); run.modules.len()];
    for (number, module) in run.modules.iter().enumerate() {
        for import in &module.imports {
            importers[*import].push(number);
        }
    }
    let edit = |(number, importers): (usize, &Vec<usize>)| {
        let jobs = std::iter::once(&number).chain(importers);
        let durations: Vec<Duration> = jobs
            .map(|job| Duration::from_secs_f64(costs.seconds[*job]))
            .collect();
        let together: Duration = durations.iter().sum();
        Edit {
            backends: durations.len(),
            together: rounded(together.as_secs_f64()),
            seconds: rounded(simulate(&durations, run.workers).ours.as_secs_f64()),
        }
    };
    importers.par_iter().enumerate().map(edit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(seconds: Option<f64>, bytes: u64, imports: &[usize]) -> Module {
        Module {
            compile_seconds: seconds,
            bytes,
            imports: imports.to_vec(),
            ..Module::default()
        }
    }

    #[test]
    fn an_edit_costs_the_module_and_its_importers() {
        let run = Run {
            workers: 2,
            modules: vec![
                module(Some(1.0), 10, &[]),
                module(Some(2.0), 20, &[0]),
                module(None, 30, &[0, 1]),
            ],
            ..Run::default()
        };
        let costs = Costs::of(&run).expect("some are known");
        assert_eq!((costs.seconds[2], costs.estimated), (3.0, 1));
        let edits = of(&run, &costs);
        let all: Vec<_> = edits.iter().map(|e| (e.backends, e.together)).collect();
        assert_eq!(all, [(3, 6.0), (2, 5.0), (1, 3.0)]);
        assert_eq!(edits[0].seconds, 3.0);
    }

    #[test]
    fn without_a_compile_nothing_can_be_said() {
        let run = Run {
            modules: vec![module(None, 10, &[])],
            ..Run::default()
        };
        assert!(Costs::of(&run).is_none());
    }
}
