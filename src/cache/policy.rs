//! Reads, in ld.lld's words, how large and how old the cache may get.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Kind};

/// Says how large and how old a cache may get, as ld.lld's `--thinlto-cache-policy`
/// does; see LLVM's `CachePruning.h`, whose defaults these are.
///
/// A limit of zero is no limit. A policy is read from text, and written as one that
/// ld.lld reads too:
///
/// ```
/// use backlto::cache::Policy;
///
/// let policy: Policy = "prune_after=2d:cache_size_bytes=20g".parse()?;
/// assert_eq!((policy.expiration.as_secs(), policy.bytes), (172_800, 20 << 30));
/// assert_eq!(
///     policy.to_string(),
///     "prune_interval=20m:prune_after=48h:cache_size=75%:cache_size_bytes=20g:cache_size_files=1000000"
/// );
/// # Ok::<(), backlto::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The least time between two automatic prunings.
    pub interval: Duration,
    /// The time after which what was not used is removed.
    pub expiration: Duration,
    /// The cache's share, from 0 to 100, of the space that would be free without
    /// it.
    pub percent: u64,
    /// The most bytes that the cache may take.
    pub bytes: u64,
    /// The most objects; entries come on top, since ld.lld has none.
    pub files: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            interval: Duration::from_secs(20 * MINUTE),
            expiration: Duration::from_secs(7 * DAY),
            percent: 75,
            bytes: 0,
            files: 1_000_000,
        }
    }
}

impl Policy {
    /// Whether anything could ever be removed.
    pub(super) fn limits_something(&self) -> bool {
        !self.expiration.is_zero() || self.percent > 0 || self.bytes > 0 || self.files > 0
    }

    /// Gives the bytes that the cache may hold, when it holds `total` now and the
    /// file system has `free` left.
    pub(super) fn byte_limit(&self, total: u64, free: u64) -> u64 {
        let available = total.saturating_add(free);
        let share = match self.percent {
            0 => u64::MAX,
            // In two parts, since a hundred times the space might not fit.
            percent => available / 100 * percent + available % 100 * percent / 100,
        };
        let bytes = if self.bytes == 0 {
            u64::MAX
        } else {
            self.bytes
        };
        share.min(bytes)
    }

    /// Whether what was last used at `used` is too old at `now`.
    pub(super) fn has_expired(&self, used: SystemTime, now: SystemTime) -> bool {
        // A time in the future has no age.
        let age = now.duration_since(used).unwrap_or_default();
        !self.expiration.is_zero() && age > self.expiration
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Has the units of times, largest first, as [`Policy`]'s text form tries them. ld.lld knows no days,
/// so they are read and never written.
const DURATIONS: [(char, u64); 3] = [('h', HOUR), ('m', MINUTE), ('s', 1)];
const SIZES: [(char, u64); 3] = [('g', 1 << 30), ('m', 1 << 20), ('k', 1 << 10)];

impl FromStr for Policy {
    type Err = Error;

    /// Reads a list such as `prune_after=7d:cache_size_bytes=20g`, with
    /// [`Kind::Flags`] and LLVM's words when it is none.
    fn from_str(text: &str) -> Result<Policy, Error> {
        parse(text).map_err(|reason| {
            Error::new(Kind::Flags, format!("invalid cache policy `{text}`"))
                .because(reason)
                .hint(format!(
                    "it is a list such as {}, with any of these keys left out",
                    Policy {
                        bytes: 20 << 30,
                        ..Policy::default()
                    }
                ))
        })
    }
}

/// Reads a policy. Follows `parseCachePruningPolicy` in LLVM's `CachePruning.cpp`, messages
/// included.
fn parse(text: &str) -> Result<Policy, String> {
    let mut policy = Policy::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (pair, after) = rest.split_once(':').unwrap_or((rest, ""));
        rest = after;
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "prune_interval" => policy.interval = parse_duration(value)?,
            "prune_after" => policy.expiration = parse_duration(value)?,
            "cache_size" => policy.percent = parse_percentage(value)?,
            "cache_size_bytes" => policy.bytes = parse_size(value)?,
            "cache_size_files" => policy.files = parse_integer(value)?,
            _ => return Err(format!("unknown key: '{key}'")),
        }
    }
    Ok(policy)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit = text
        .chars()
        .next_back()
        .ok_or("duration must not be empty")?;
    let number = parse_integer(text.strip_suffix(unit).unwrap_or(text))?;
    let seconds = DURATIONS
        .iter()
        .chain(&[('d', DAY)])
        .find(|(name, _)| *name == unit)
        .map(|(_, seconds)| seconds)
        .ok_or_else(|| format!("'{text}' must end with one of 's', 'm', 'h' or 'd'"))?;
    number
        .checked_mul(*seconds)
        .map(Duration::from_secs)
        .ok_or_else(|| format!("'{text}' is too large"))
}

fn parse_percentage(text: &str) -> Result<u64, String> {
    let number = text
        .strip_suffix('%')
        .ok_or_else(|| format!("'{text}' must be a percentage"))?;
    match parse_integer(number)? {
        percent @ 0..=100 => Ok(percent),
        _ => Err(format!("'{number}' must be between 0 and 100")),
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let unit = text.chars().next_back().map(|c| c.to_ascii_lowercase());
    let factor = SIZES.iter().find(|(name, _)| Some(*name) == unit);
    let (number, factor) = match factor {
        Some((_, factor)) => (&text[..text.len() - 1], *factor),
        None => (text, 1),
    };
    parse_integer(number)?
        .checked_mul(factor)
        .ok_or_else(|| format!("'{text}' is too large"))
}

/// Reads an integer as `StringRef::getAsInteger` does with a radix of 0.
fn parse_integer(text: &str) -> Result<u64, String> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        [b'0', b'o', ..] => (&text[2..], 8),
        [b'0', b'0'..=b'9', ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // `from_str_radix` would take a sign too.
    match digits.chars().all(|c| c.is_digit(radix)) {
        true => u64::from_str_radix(digits, radix).ok(),
        false => None,
    }
    .ok_or_else(|| format!("'{text}' not an integer"))
}

/// Writes the syntax that is read, for ld.lld too.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = |duration: &Duration| {
            let seconds = duration.as_secs();
            // Seconds divide everything.
            let (unit, factor) = DURATIONS
                .into_iter()
                .find(|(_, factor)| seconds != 0 && seconds.is_multiple_of(*factor))
                .unwrap_or(('s', 1));
            format!("{}{unit}", seconds / factor)
        };
        write!(
            f,
            "prune_interval={}:prune_after={}:cache_size={}%",
            duration(&self.interval),
            duration(&self.expiration),
            self.percent
        )?;
        if self.bytes > 0 {
            let unit = SIZES
                .iter()
                .find(|(_, factor)| self.bytes.is_multiple_of(*factor));
            match unit {
                Some((unit, factor)) => {
                    write!(f, ":cache_size_bytes={}{unit}", self.bytes / factor)?
                }
                None => write!(f, ":cache_size_bytes={}", self.bytes)?,
            }
        }
        write!(f, ":cache_size_files={}", self.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Policy {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    fn reason(text: &str) -> String {
        let error = text.parse::<Policy>().expect_err(text);
        assert!(error.advice().is_some());
        error.to_string()
    }

    #[test]
    fn nothing_said_means_llvms_defaults() {
        assert_eq!(parsed(""), Policy::default());
        assert_eq!(
            Policy::default().to_string(),
            "prune_interval=20m:prune_after=168h:cache_size=75%:cache_size_files=1000000"
        );
    }

    #[test]
    fn every_key_and_unit_is_read() {
        let policy = parsed(
            "prune_interval=30s:prune_after=7d:cache_size=50%:cache_size_bytes=20g:cache_size_files=1000",
        );
        assert_eq!(policy.interval, Duration::from_secs(30));
        assert_eq!(policy.expiration, Duration::from_secs(7 * 24 * 3600));
        assert_eq!(
            (policy.percent, policy.bytes, policy.files),
            (50, 20 << 30, 1000)
        );
        assert_eq!(
            parsed("prune_after=2h").expiration,
            Duration::from_secs(7200)
        );
        assert_eq!(
            parsed("prune_after=2m:").expiration,
            Duration::from_secs(120)
        );
        assert_eq!(parsed("cache_size_bytes=3K").bytes, 3 << 10);
        assert_eq!(parsed("cache_size_bytes=3m").bytes, 3 << 20);
        assert_eq!(parsed("cache_size_bytes=3").bytes, 3);
        // The last one holds, and integers are read as LLVM does.
        assert_eq!(parsed("cache_size_files=1:cache_size_files=0x10").files, 16);
        assert_eq!(parsed("cache_size_files=010").files, 8);
    }

    #[test]
    fn mistakes_are_named_in_llvms_words() {
        for (text, expected) in [
            ("foo=1", "unknown key: 'foo'"),
            ("::", "unknown key: ''"),
            ("prune_after=", "duration must not be empty"),
            (
                "prune_after=7w",
                "'7w' must end with one of 's', 'm', 'h' or 'd'",
            ),
            (
                "prune_after=7µ",
                "'7µ' must end with one of 's', 'm', 'h' or 'd'",
            ),
            ("prune_after=xs", "'x' not an integer"),
            ("prune_after=s", "'' not an integer"),
            ("prune_after=18446744073709551615h", "is too large"),
            ("cache_size=5", "'5' must be a percentage"),
            ("cache_size=", "'' must be a percentage"),
            ("cache_size=101%", "'101' must be between 0 and 100"),
            ("cache_size_bytes=1x", "'1x' not an integer"),
            ("cache_size_bytes=", "'' not an integer"),
            ("cache_size_bytes=+5", "'+5' not an integer"),
            ("cache_size_bytes=08", "'08' not an integer"),
            ("cache_size_bytes=99999999999g", "is too large"),
            ("cache_size_files=-1", "'-1' not an integer"),
        ] {
            let reason = reason(text);
            assert!(reason.ends_with(expected), "{text}: {reason}");
        }
    }

    #[test]
    fn the_text_form_reads_back() {
        for text in [
            "prune_interval=0s:prune_after=90m:cache_size=0%:cache_size_bytes=1000:cache_size_files=0",
            "prune_interval=61s:prune_after=48h:cache_size=100%:cache_size_bytes=5m:cache_size_files=7",
        ] {
            let policy = parsed(text);
            assert_eq!(parsed(&policy.to_string()), policy);
        }
    }

    #[test]
    fn the_smaller_limit_holds() {
        let policy = parsed("cache_size=50%:cache_size_bytes=300");
        assert_eq!(policy.byte_limit(100, 300), 200);
        assert_eq!(policy.byte_limit(100, 3000), 300);
        assert_eq!(parsed("cache_size=0%").byte_limit(100, 300), u64::MAX);
        assert_eq!(parsed("cache_size=100%").byte_limit(u64::MAX, 1), u64::MAX);
    }
}
