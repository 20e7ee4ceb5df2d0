//! Moments: what time is to every part of the host. What it is now is for callers to say.

use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment: milliseconds of Unix time, never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment that there is.
    pub const END: Self = Self(i64::MAX);

    /// The moment `millis` milliseconds after the Unix epoch; the epoch itself
    /// where that is negative.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.max(0))
    }

    /// Milliseconds since the Unix epoch.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub fn seconds(self) -> u64 {
        self.0.unsigned_abs() / 1000
    }

    /// As JavaScript writes dates in JSON: RFC 3339 in UTC, with three digits of
    /// a second.
    pub fn to_javascript(self) -> String {
        let (seconds, millis) = (self.to_string(), self.0 % 1000);
        format!("{}.{millis:03}Z", seconds.trim_end_matches('Z'))
    }

    /// So long before this moment; the epoch where that is earlier.
    pub fn before(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis).max(0))
    }
}

/// A text that is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is like 2026-03-01T12:00:00Z")]
pub struct InvalidTime;

/// As RFC 3339 writes it; the epoch where it is earlier.
impl std::str::FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTime)?;
        let millis = moment.unix_timestamp_nanos() / 1_000_000;
        Ok(Self::from_millis(i64::try_from(millis).unwrap_or_default()))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    /// The last representable moment where the sum is beyond it.
    fn add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl std::ops::Sub for Timestamp {
    type Output = Duration;

    /// Zero where the other moment is later.
    fn sub(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0).max(0);
        Duration::from_millis(millis.unsigned_abs())
    }
}

/// RFC 3339 in UTC, with whole seconds.
impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp(self.0 / 1000)
            .ok()
            .and_then(|moment| moment.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_utc() {
        let moment = Timestamp::from_millis(1_234_567_890_999);
        assert_eq!(moment.to_string(), "2009-02-13T23:31:30Z");
        assert_eq!(moment.to_javascript(), "2009-02-13T23:31:30.999Z");
        assert_eq!(moment.seconds(), 1_234_567_890);
    }

    #[test]
    fn a_moment_is_read_as_it_was_written() {
        let moment = Timestamp::from_millis(1_234_567_890_999);
        assert_eq!(moment.to_javascript().parse(), Ok(moment));
        let elsewhere = "2009-02-14T01:31:30.999+02:00".parse();
        assert_eq!(elsewhere, Ok(moment));
        assert_eq!(
            "1969-12-31T23:59:59Z".parse(),
            Ok(Timestamp::from_millis(0))
        );
        for text in ["", "2009-02-13", "2009-02-13T23:31:30", "yesterday"] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTime), "{text}");
        }
    }

    #[test]
    fn between_two_moments_is_the_time_from_the_first_to_the_second() {
        let [first, second] = [1_000, 1_001].map(Timestamp::from_millis);
        assert_eq!(second - first, Duration::from_millis(1));
        assert_eq!(first - second, Duration::ZERO);
        assert_eq!(first + Duration::from_millis(1), second);
        assert_eq!(Timestamp::END.millis(), i64::MAX);
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        assert_eq!(Timestamp::from_millis(-1).millis(), 0);
        let end = Timestamp::from_millis(i64::MAX) + Duration::MAX;
        assert_eq!(end.millis(), i64::MAX);
        assert_eq!(end.to_string(), format!("{} ms", i64::MAX));
    }
}
