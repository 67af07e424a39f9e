//! Limits as the command line and the environment give them.

use std::num::NonZeroUsize;
use std::time::Duration;

/// A limit, or none where one was given as nothing or zero: so an empty variable of
/// the environment is as good as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit<T>(Option<T>);

impl<T> Limit<T> {
    /// The limit, if there is one.
    pub(crate) fn into_inner(self) -> Option<T> {
        self.0
    }
}

/// Reads a time in seconds, with or without a fraction.
///
/// # Errors
/// With what is expected, when `text` is no time.
pub(crate) fn seconds(text: &str) -> Result<Limit<Duration>, String> {
    let time = wait(text)?.0;
    Ok(Limit(time.filter(|time| !time.is_zero())))
}

/// Reads a time in seconds to wait for something, which may be none at all.
///
/// # Errors
/// With what is expected, when `text` is no time.
pub(crate) fn wait(text: &str) -> Result<Limit<Duration>, String> {
    if text.is_empty() {
        return Ok(Limit(None));
    }
    let time = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or("expected a number of seconds, as 30 or 0.5")?;
    Ok(Limit(Some(time)))
}

/// Reads a time in milliseconds.
///
/// # Errors
/// With what is expected, when `text` is no time.
pub(crate) fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|ms: f64| Duration::try_from_secs_f64(ms / 1e3).ok())
        .ok_or_else(|| "expected a number of milliseconds, as 50 or 0.5".to_owned())
}

/// Reads what a line carries, in megabits a second.
///
/// # Errors
/// With what is expected, when `text` is no number, or a line would carry nothing.
pub(crate) fn megabits(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|megabits: &f64| megabits.is_finite() && *megabits > 0.0)
        .ok_or_else(|| "expected a number of megabits, as 20 or 1000".to_owned())
}

/// Reads yes or no, also in other usual words.
///
/// # Errors
/// With what is expected, when `text` is neither.
pub(crate) fn yes_or_no(text: &str) -> Result<Limit<bool>, String> {
    match text {
        "" => Ok(Limit(None)),
        "yes" | "true" | "on" | "1" => Ok(Limit(Some(true))),
        "no" | "false" | "off" | "0" => Ok(Limit(Some(false))),
        _ => Err("expected yes or no".to_owned()),
    }
}

/// Reads how many of something there may be.
///
/// # Errors
/// With what is expected, when `text` is no number.
pub(crate) fn lots(text: &str) -> Result<Limit<NonZeroUsize>, String> {
    if text.is_empty() {
        return Ok(Limit(None));
    }
    let number: usize = text.parse().map_err(|_| "expected a number, as 16")?;
    Ok(Limit(NonZeroUsize::new(number)))
}

/// Reads a size in bytes, or in units of 1024 of them and so on, as `500M`.
///
/// # Errors
/// With what is expected, when `text` is no size.
pub(crate) fn bytes(text: &str) -> Result<Limit<u64>, String> {
    if text.is_empty() {
        return Ok(Limit(None));
    }
    let (number, shift) = match text.char_indices().next_back() {
        Some((end, 'k' | 'K')) => (&text[..end], 10),
        Some((end, 'm' | 'M')) => (&text[..end], 20),
        Some((end, 'g' | 'G')) => (&text[..end], 30),
        Some((end, 't' | 'T')) => (&text[..end], 40),
        _ => (text, 0),
    };
    let size = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or("expected a size, as 500M or 4G")?;
    Ok(Limit((size > 0).then_some(size)))
}

/// Reads a share of 100, with or without the sign `%`.
///
/// # Errors
/// With what is expected, when `text` is none.
pub(crate) fn percent(text: &str) -> Result<Limit<f64>, String> {
    if text.is_empty() {
        return Ok(Limit(None));
    }
    let share: f64 = text
        .strip_suffix('%')
        .unwrap_or(text)
        .parse()
        .ok()
        .filter(|share| (0.0..=100.0).contains(share))
        .ok_or("expected a share from 0% to 100%, as 5% or 0.5%")?;
    Ok(Limit((share > 0.0).then_some(share)))
}

/// Reads a load of the machine: how many processes want to run.
///
/// # Errors
/// With what is expected, when `text` is none.
pub(crate) fn load(text: &str) -> Result<Limit<f64>, String> {
    if text.is_empty() {
        return Ok(Limit(None));
    }
    let load: f64 = text
        .parse()
        .ok()
        .filter(|load: &f64| load.is_finite() && *load >= 0.0)
        .ok_or("expected a load, as 4 or 3.5")?;
    Ok(Limit((load > 0.0).then_some(load)))
}

/// Reads how many jobs there may be at a time.
///
/// # Errors
/// With what is expected, when `text` is no such number.
pub(crate) fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    let expected = "expected a number of jobs, 1 or more (without -j: all cores)";
    text.parse().map_err(|_| expected.to_owned())
}

/// Reads a whole number; 0 is one.
///
/// # Errors
/// With what is expected, when `text` is none.
pub(crate) fn number(text: &str) -> Result<Limit<u64>, String> {
    if text.is_empty() {
        return Ok(Limit(None));
    }
    let number = text.parse();
    let number = number.map_err(|_| "expected a whole number".to_owned())?;
    Ok(Limit(Some(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_fractions() {
        let of = |text| seconds(text).map(Limit::into_inner);
        assert_eq!(of("30"), Ok(Some(Duration::from_secs(30))));
        assert_eq!(of("0.5"), Ok(Some(Duration::from_millis(500))));
        assert_eq!((of("0"), of("")), (Ok(None), Ok(None)));
        let no_wait = wait("0").map(Limit::into_inner);
        assert_eq!(no_wait, Ok(Some(Duration::ZERO)));
        for wrong in ["-1", "x", "1s", "nan", "inf", "1e300"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_may_have_a_sign() {
        let of = |text| percent(text).map(Limit::into_inner);
        assert_eq!((of("5%"), of("5")), (Ok(Some(5.0)), Ok(Some(5.0))));
        assert_eq!((of("0.5%"), of("100%")), (Ok(Some(0.5)), Ok(Some(100.0))));
        assert_eq!((of("0%"), of("")), (Ok(None), Ok(None)));
        for wrong in ["-1", "101", "%", "x", "nan", "5%%"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        let of = |text| number(text).map(Limit::into_inner);
        assert_eq!((of("0"), of("")), (Ok(Some(0)), Ok(None)));
        assert!(of("-1").is_err() && of("x").is_err());
    }

    #[test]
    fn sizes_may_have_units() {
        let of = |text| bytes(text).map(Limit::into_inner);
        assert_eq!(of("100"), Ok(Some(100)));
        assert_eq!(of("3k"), Ok(Some(3 << 10)));
        assert_eq!(of("500M"), Ok(Some(500 << 20)));
        assert_eq!(of("4G"), Ok(Some(4 << 30)));
        assert_eq!((of("0"), of("")), (Ok(None), Ok(None)));
        for wrong in ["G", "-1", "1.5G", "4GB", "99999999999T", "é"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
