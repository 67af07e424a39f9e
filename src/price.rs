//! What it costs to have jobs compiled elsewhere, as it shows in what comes back.

use std::time::Duration;

/// What an action costs an engine, until one has shown it: 40 to 300 ms are usual.
const USUAL_LOT: Duration = Duration::from_millis(250);
/// Round trips for an action, at most times: what is missing, blobs, the action, outputs.
const ROUND_TRIPS: u32 = 5;
/// What it costs at the least.
const LEAST_LOT: Duration = Duration::from_millis(5);
/// The bytes in a second that are taken for granted, near and far, until some were sent.
const NEAR_RATE: f64 = 100e6;
const FAR_RATE: f64 = 1e6;
/// Where answers take less than this, the engine is near.
const NEAR: Duration = Duration::from_millis(1);
/// As many bytes say how fast bytes travel.
const TELLING: u64 = 64 << 10;
/// So many of the program are sent to see how fast bytes travel.
pub(crate) const PIECE: u64 = 256 << 10;

/// What it costs to have jobs compiled elsewhere, beside the time of their compiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// For each lot.
    pub(crate) lot: Duration,
    /// How long it takes until bytes begin to travel, since others do.
    pub(crate) queue: Duration,
    /// For each byte that is not there yet.
    pub(crate) byte: Duration,
    /// How many times as long as was expected compiles take there; at least once.
    pub(crate) slowness: f64,
}

impl Cost {
    /// How long a lot is away whose compiles take `time`, and of which so many `bytes` are
    /// not there yet.
    pub(crate) fn of(&self, time: Duration, bytes: u64) -> Duration {
        let travels = self.byte.as_secs_f64() * bytes as f64;
        let compiles = time.as_secs_f64() * self.slowness;
        // What is too long for a clock never comes back.
        let away = Duration::try_from_secs_f64(travels + compiles).unwrap_or(Duration::MAX);
        let begins = self.lot.saturating_add(self.queue);
        begins.saturating_add(away)
    }
}

/// What an engine has cost of late.
#[derive(Debug, Default)]
pub(crate) struct Price {
    /// For an action beside its compiles and its bytes.
    lot: Option<Duration>,
    /// How many times as long as was expected compiles took.
    slowness: Option<f64>,
    /// Bytes in a second.
    rate: Option<f64>,
    /// The bytes that wait to be uploaded.
    waiting: u64,
}

impl Price {
    /// So many `bytes` begin to wait to be uploaded.
    pub(crate) fn wait(&mut self, bytes: u64) {
        self.waiting += bytes;
    }

    /// So many `bytes` have waited long enough.
    pub(crate) fn wait_no_more(&mut self, bytes: u64) {
        self.waiting -= bytes;
    }

    /// Learns that so many `bytes` took `elapsed` to upload.
    pub(crate) fn learn_rate(&mut self, bytes: u64, elapsed: Duration) {
        if bytes >= TELLING {
            let now = bytes as f64 / elapsed.as_secs_f64().max(1e-6);
            self.rate = Some(self.rate.map_or(now, |before| (before * 3.0 + now) / 4.0));
        }
    }

    /// Learns of an action that took `elapsed` once its bytes were there, whose compiles were
    /// `expected` to take some time and took `compiles`. A call takes `round_trip`.
    pub(crate) fn learn_action(
        &mut self,
        elapsed: Duration,
        compiles: Duration,
        expected: Duration,
        round_trip: Duration,
    ) {
        // What the engine knew already took nothing.
        let now = elapsed.saturating_sub(compiles).max(LEAST_LOT);
        self.lot = Some((self.lot(round_trip) * 3 + now) / 4);
        let now = compiles.as_secs_f64() / expected.as_secs_f64().max(1e-6);
        let before = self.slowness.unwrap_or(now);
        self.slowness = Some((before * 3.0 + now) / 4.0);
    }

    fn lot(&self, round_trip: Duration) -> Duration {
        self.lot.unwrap_or(USUAL_LOT + round_trip * ROUND_TRIPS)
    }

    /// What it costs to send something now, to an engine to which a call takes `round_trip`.
    pub(crate) fn cost(&self, round_trip: Duration) -> Cost {
        let usual = match round_trip < NEAR {
            true => NEAR_RATE,
            false => FAR_RATE,
        };
        let byte = 1.0 / self.rate.unwrap_or(usual);
        let queue = Duration::try_from_secs_f64(byte * self.waiting as f64);
        Cost {
            lot: self.lot(round_trip),
            queue: queue.unwrap_or(Duration::MAX),
            byte: Duration::from_secs_f64(byte),
            slowness: self.slowness.unwrap_or(1.0).max(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn bytes_and_slow_machines_cost_time() {
        let cost = Cost {
            lot: ms(60),
            queue: ms(40),
            byte: Duration::from_nanos(10),
            slowness: 2.0,
        };
        assert_eq!(cost.of(Duration::ZERO, 0), ms(100));
        assert_eq!(cost.of(SECOND, 0), ms(2100));
        assert_eq!(cost.of(SECOND, 100_000_000), ms(3100));
        assert_eq!(cost.of(Duration::MAX, u64::MAX), Duration::MAX);
    }

    #[test]
    fn an_engine_costs_what_is_usual_until_it_has_shown_more() {
        let mut price = Price::default();
        let far = price.cost(ms(50));
        assert_eq!(far.lot, USUAL_LOT + ms(50) * ROUND_TRIPS);
        assert_eq!((far.byte, far.slowness), (Duration::from_micros(1), 1.0));
        assert!(price.cost(Duration::ZERO).byte < far.byte);
        // What is sent says how fast, but not a few bytes.
        price.learn_rate(TELLING - 1, SECOND);
        assert_eq!(price.cost(ms(50)).byte, far.byte);
        price.learn_rate(10_000_000, SECOND);
        assert_eq!(price.cost(ms(50)).byte, Duration::from_nanos(100));
        for _ in 0..100 {
            price.learn_action(ms(2500), ms(2000), SECOND, ms(50));
        }
        let cost = price.cost(ms(50));
        assert!(cost.lot.abs_diff(ms(500)) < ms(1), "{cost:?}");
        assert!((cost.slowness - 2.0).abs() < 0.01, "{cost:?}");
        // A fast engine may be out of the ordinary.
        (0..100).for_each(|_| price.learn_action(ms(500), ms(500), SECOND, ms(50)));
        let cost = price.cost(ms(50));
        assert_eq!(cost.slowness, 1.0);
        assert!(cost.lot < ms(6), "{cost:?}");
    }

    #[test]
    fn what_waits_to_be_uploaded_is_waited_for() {
        let mut price = Price::default();
        let before = price.cost(ms(50));
        price.wait(2_000_000);
        let now = price.cost(ms(50));
        assert_eq!((now.queue, now.lot), (SECOND * 2, before.lot));
        price.wait_no_more(2_000_000);
        assert_eq!(price.cost(ms(50)).queue, Duration::ZERO);
    }
}
