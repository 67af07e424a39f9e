//! What the use of an engine comes to.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Adds up what was had from an engine and given to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// How many jobs the engine has compiled.
    pub executed: u64,
    /// How many actions it was sent for that.
    pub lots: u64,
    /// What these took beside the compiles once their bytes were there, in seconds, added up.
    pub overhead_seconds: f64,
    /// How many jobs came back from it without an object, and were left to this machine.
    pub came_home: u64,
    /// How many jobs were looked for by the content of their inputs or, later, of their
    /// imported modules.
    pub asked: u64,
    /// How many of these the engine had.
    pub found: u64,
    /// How many objects were put in place that came from the engine.
    pub used: u64,
    /// How many of these were found by the module after its imports.
    pub used_after_import: u64,
    /// How many answers were refused, since they were not what they should be.
    pub refused: u64,
    /// How many objects were uploaded, the ones that the engine had left out.
    pub uploaded: u64,
    /// How many objects were to be uploaded and were not, for want of time, room or an
    /// engine that takes them.
    pub not_uploaded: u64,
    /// The bytes of blobs that came, as they were sent.
    pub bytes_received: u64,
    /// The bytes of blobs that went, as they were sent.
    pub bytes_sent: u64,
    /// How many calls were made.
    pub calls: u64,
    /// How many calls failed.
    pub failures: u64,
    /// The wall time in seconds that the compiles took whose objects were used.
    pub seconds_saved: f64,
}

/// Says how the use of an engine ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// What was counted.
    pub totals: Totals,
    /// What first went wrong, and what that meant.
    pub first_trouble: Option<String>,
    /// Why the first job came back without an object that did.
    pub first_home: Option<String>,
    /// Why nothing more was sent to be compiled, if so.
    pub closed: Option<String>,
    /// Why nothing was uploaded, when that was the engine's choice.
    pub read_only: Option<String>,
}

/// Says how well an engine works from here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Probed {
    /// How long a small call takes, the median of several.
    pub round_trip: Duration,
    /// Bytes in a second, there and back; `None` when nothing may be uploaded.
    pub bandwidth: Option<(f64, f64)>,
    /// Whether objects can be uploaded.
    pub takes_objects: bool,
    /// Whether blobs are compressed on their way.
    pub compresses: bool,
    /// Whether the engine runs actions, too.
    pub executes: bool,
    /// How long an action of ours took that compiled nothing, if the engine is to compile.
    pub action: Option<Duration>,
}

impl fmt::Display for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let round_trip = self.round_trip.as_secs_f64() * 1e3;
        write!(f, "round trip {round_trip:.1} ms")?;
        if let Some((there, back)) = self.bandwidth {
            let (there, back) = (there / 1e6, back / 1e6);
            write!(f, ", {there:.1} MB/s there and {back:.1} MB/s back")?;
        }
        if !self.takes_objects {
            f.write_str(", gives objects and takes none")?;
        }
        if self.compresses {
            f.write_str(", zstd")?;
        }
        match self.action {
            Some(action) => write!(f, ", runs backlto in {:.1} ms", action.as_secs_f64() * 1e3),
            None if self.executes => f.write_str(", runs actions"),
            None => Ok(()),
        }
    }
}
