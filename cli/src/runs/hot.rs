//! Where LLVM's time went, by its own time trace of each compile.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Deserialize;

/// How many functions are kept.
const FUNCTIONS: usize = 200;
/// How many passes are told.
const PASSES: usize = 40;

/// What traces of LLVM come to.
#[derive(Debug, Default)]
pub(crate) struct Hot<K> {
    /// By function and module, in microseconds; more than are kept, now and then.
    functions: Vec<(u64, String, K)>,
    /// By pass, in microseconds.
    passes: HashMap<String, u64>,
}

/// LLVM's time trace of one compile.
#[derive(Deserialize)]
struct Trace {
    #[serde(rename = "traceEvents")]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    name: String,
    ph: String,
    #[serde(default)]
    ts: u64,
    #[serde(default)]
    dur: u64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    detail: String,
}

impl Event {
    fn end(&self) -> u64 {
        self.ts.saturating_add(self.dur)
    }

    /// Whether it is a span of time, not a sum of spans or a name.
    fn is_span(&self) -> bool {
        self.ph == "X" && !self.name.starts_with("Total ")
    }

    /// The function whose optimisation or code generation it is, if it is one's.
    fn function(&self) -> Option<&str> {
        let is_of_function = ["PassManager<Function>", "OptFunction"].contains(&&*self.name);
        is_of_function.then_some(self.detail())
    }

    /// What LLVM does in it.
    fn pass(&self) -> &str {
        // These say it beside their name.
        match ["RunPass", "RunLoopPass"].contains(&&*self.name) {
            true => self.detail(),
            false => &self.name,
        }
    }

    fn detail(&self) -> &str {
        &self.args.detail
    }
}

impl<K: Clone> Hot<K> {
    /// A sum of no traces.
    pub(crate) fn new() -> Hot<K> {
        Hot {
            functions: Vec::new(),
            passes: HashMap::new(),
        }
    }

    /// Adds `trace`, a JSON text that LLVM wrote of the compile of `module`. One that is
    /// not understood is left out.
    pub(crate) fn add(&mut self, module: &K, trace: &str) {
        let Ok(Trace { mut events }) = serde_json::from_str(trace) else {
            return;
        };
        events.retain(Event::is_span);
        // An outer span comes before those within.
        events.sort_by_key(|event| (event.ts, Reverse(event.dur)));
        self.add_passes(&events);
        let mut functions: HashMap<&str, u64> = HashMap::new();
        let mut end = 0;
        for event in &events {
            // Within another span of a function, it is a part of that.
            if let Some(function) = event.function().filter(|_| event.ts >= end) {
                *functions.entry(function).or_default() += event.dur;
                end = event.end();
            }
        }
        let functions = functions.into_iter();
        self.functions
            .extend(functions.map(|(name, time)| (time, name.to_owned(), module.clone())));
        self.keep_longest();
    }

    /// Adds to each pass what it took, less what other passes took within.
    fn add_passes(&mut self, events: &[Event]) {
        let mut open: Vec<(&Event, u64)> = Vec::new();
        let passes = &mut self.passes;
        let mut close = |(event, within): (&Event, u64)| {
            let own = event.dur.saturating_sub(within);
            *passes.entry(event.pass().to_owned()).or_default() += own;
        };
        for event in events {
            while let Some(last) = open.pop_if(|(last, _)| last.end() <= event.ts) {
                close(last);
            }
            if let Some((_, within)) = open.last_mut() {
                *within += event.dur;
            }
            open.push((event, 0));
        }
        open.into_iter().for_each(close);
    }

    fn keep_longest(&mut self) {
        self.functions
            .sort_by(|one, other| (other.0, &one.1).cmp(&(one.0, &other.1)));
        self.functions.truncate(FUNCTIONS);
    }

    /// The functions that took longest, in microseconds, with their modules; the longest
    /// first.
    pub(crate) fn functions(&self) -> &[(u64, String, K)] {
        &self.functions
    }

    /// The passes that took longest, in microseconds, the longest first.
    pub(crate) fn passes(&self) -> Vec<(u64, String)> {
        let passes = self.passes.iter();
        let mut passes: Vec<_> = passes.map(|(name, time)| (*time, name.clone())).collect();
        passes.sort_by(|one, other| (other.0, &one.1).cmp(&(one.0, &other.1)));
        passes.truncate(PASSES);
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_passes_are_added_up_and_nothing_twice() {
        let trace = r#"{"traceEvents": [
            {"name": "Optimizer", "ph": "X", "ts": 0, "dur": 100},
            {"name": "PassManager<Function>", "ph": "X", "ts": 10, "dur": 50, "args": {"detail": "f"}},
            {"name": "SROAPass", "ph": "X", "ts": 10, "dur": 20, "args": {"detail": "f"}},
            {"name": "PassManager<Function>", "ph": "X", "ts": 35, "dur": 5, "args": {"detail": "f"}},
            {"name": "PassManager<Function>", "ph": "X", "ts": 70, "dur": 5, "args": {"detail": "g"}},
            {"name": "OptFunction", "ph": "X", "ts": 100, "dur": 30, "args": {"detail": "f"}},
            {"name": "RunPass", "ph": "X", "ts": 105, "dur": 10, "args": {"detail": "Scheduler"}},
            {"name": "Total SROAPass", "ph": "X", "ts": 0, "dur": 20},
            {"name": "thread_name", "ph": "M", "ts": 0}], "beginningOfTime": 1}"#;
        let mut hot = Hot::new();
        hot.add(&7, trace);
        hot.add(&8, "no trace");
        assert_eq!(
            hot.functions(),
            [(80, "f".to_owned(), 7), (5, "g".to_owned(), 7)]
        );
        let passes: HashMap<String, u64> = hot.passes().into_iter().map(|(t, n)| (n, t)).collect();
        assert_eq!(passes["Optimizer"], 45);
        assert_eq!(passes["SROAPass"], 20);
        assert_eq!(passes["PassManager<Function>"], 35);
        assert_eq!(passes["Scheduler"], 10);
        assert!(!passes.contains_key("Total SROAPass"));
    }
}
