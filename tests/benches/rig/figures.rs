//! Prints figures as lines of a table: the measured value, the floor of the same run, their ratio,
//! the aim.

use std::time::Duration;

/// Prints one line. `scripts/bench` prints the headings of the columns.
pub(crate) fn line(figure: &str, measured: &str, floor: &str, ratio: &str, aim: &str) {
    println!("FIGURE\t{figure}\t{measured}\t{floor}\t{ratio}\t{aim}");
}

/// Times, sorted.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// Sorts the times.
    #[must_use]
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that so many of a thousand times did not exceed. Zero if there are no times.
    #[must_use]
    pub(crate) fn at(&self, thousandth: usize) -> Duration {
        self.0
            .get((self.0.len() * thousandth / 1000).min(self.0.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }

    /// The median.
    #[must_use]
    pub(crate) fn median(&self) -> Duration {
        self.at(500)
    }

    /// Median and 99th percentile in words.
    #[must_use]
    pub(crate) fn words(&self) -> String {
        format!("p50 {:.2} ms, p99 {:.2} ms", ms(self.at(500)), ms(self.at(990)))
    }
}

/// A time in milliseconds.
#[must_use]
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The median of some figures.
#[must_use]
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
