//! What follows from a run: what more workers would bring, what edits cost, how it differs
//! from another run.

use serde::{Deserialize, Serialize};

use super::against::Difference;
use super::cores::Cores;
use super::data::{Run, Step, rounded};
use super::edits::{self, Costs, Edit};

/// A run, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Review {
    /// The run.
    pub(crate) run: Run,
    /// What other numbers of workers would make of what was run; `None` if nothing was.
    pub(crate) cores: Option<Cores>,
    /// What other numbers of workers would make of a build in which everything is compiled;
    /// `None` if no compile is known, or when that is what was run.
    pub(crate) cores_of_all: Option<Cores>,
    /// What no number of workers could make shorter, in the order in which it is done.
    pub(crate) critical: Vec<Critical>,
    /// What an edit of each module would cost; nothing if no compile is known.
    pub(crate) edits: Vec<Edit>,
    /// How many modules were never seen to be compiled, so that their times are estimates.
    pub(crate) estimated: usize,
    /// How it differs from another run, if there is one.
    pub(crate) against: Option<Difference>,
}

/// A part of what no number of workers could make shorter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Critical {
    /// What is done.
    pub(crate) name: String,
    /// How long it takes.
    pub(crate) seconds: f64,
}

impl Review {
    /// What there is to say of `run`, and of how it differs from the run `other`.
    pub(crate) fn of(run: Run, other: Option<&Run>) -> Review {
        let ran: Vec<(usize, f64)> = run
            .spans()
            .map(|(number, span)| (number, span.seconds))
            .collect();
        let costs = Costs::of(&run);
        let all = costs.as_ref().filter(|_| ran.len() < run.modules.len());
        let all: Vec<(usize, f64)> = all
            .map(|costs| costs.seconds.iter().copied().enumerate().collect())
            .unwrap_or_default();
        let edits = costs.as_ref().map(|costs| edits::of(&run, costs));
        Review {
            cores: Cores::of(&ran, run.workers),
            cores_of_all: Cores::of(&all, run.workers),
            critical: critical(&run),
            edits: edits.unwrap_or_default(),
            estimated: costs.map_or(0, |costs| costs.estimated),
            against: other.map(|other| Difference::of(&run, other)),
            run,
        }
    }
}

/// What no number of workers could make shorter: in the directory where that is longest,
/// the links and the longest backend.
fn critical(run: &Run) -> Vec<Critical> {
    let of_place = (0..run.places.len()).map(|place| critical_of(run, place));
    let length = |path: &Vec<Critical>| path.iter().map(|part| part.seconds).sum::<f64>();
    let longest = of_place.max_by(|one, other| length(one).total_cmp(&length(other)));
    longest.unwrap_or_default()
}

/// What could not be made shorter of what was done in `place`.
fn critical_of(run: &Run, place: usize) -> Vec<Critical> {
    let spans = run.spans();
    let here = spans.filter(|(number, _)| run.modules[*number].place == place);
    let longest = here.max_by(|(_, one), (_, other)| one.seconds.total_cmp(&other.seconds));
    let steps = run.steps.iter().filter(|step| step.place == place);
    let as_part = |step: &Step| Critical {
        name: step.name.clone(),
        seconds: step.seconds,
    };
    let mut parts: Vec<(f64, Critical)> = steps.map(|step| (step.begin, as_part(step))).collect();
    if let Some((number, span)) = longest {
        let part = Critical {
            name: run.name(number).into_owned(),
            seconds: rounded(span.seconds),
        };
        parts.push((span.begin, part));
    }
    parts.sort_by(|one, other| one.0.total_cmp(&other.0));
    parts.into_iter().map(|(_, part)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::data::{Module, Span};

    #[test]
    fn the_critical_path_is_that_of_the_slowest_place() {
        let step = |name: &str, place, begin, seconds| Step {
            name: name.to_owned(),
            place,
            begin,
            seconds,
        };
        let module = |name: &str, place, begin, seconds| Module {
            name: name.to_owned(),
            place,
            span: Some(Span {
                worker: 0,
                begin,
                seconds,
            }),
            compile_seconds: Some(seconds),
            ..Module::default()
        };
        let run = Run {
            workers: 2,
            places: ["", "x86", "arm64"].map(str::to_owned).to_vec(),
            steps: vec![
                step("the thin link", 1, 0.0, 1.0),
                step("the final link", 1, 9.0, 1.0),
                step("the thin link", 2, 0.0, 0.5),
            ],
            modules: vec![
                module("a.o", 1, 1.0, 2.0),
                module("b.o", 1, 3.0, 3.0),
                module("c.o", 2, 1.0, 4.0),
            ],
            ..Run::default()
        };
        let review = Review::of(run, None);
        let names: Vec<&str> = review.critical.iter().map(|part| &*part.name).collect();
        assert_eq!(names, ["the thin link", "x86/b.o", "the final link"]);
        assert_eq!(review.cores_of_all, None);
        assert_eq!(
            review.cores.as_ref().and_then(|c| c.seconds_on(2)),
            Some(5.0)
        );
        assert_eq!(review.edits.len(), 3);
    }
}
