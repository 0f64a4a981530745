//! Medians, spreads and ratios of few samples.

use serde::Serialize;

/// A few numbers, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one; the mean of the middle two if they are even in number.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The middle of the lower half: a quarter lies below.
    pub lower_quartile: f64,
    /// The middle of the upper half: a quarter lies above.
    pub upper_quartile: f64,
}

impl Summary {
    /// `None` for no numbers at all. NaN counts as larger than everything.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Summary {
            median: quantile(&sorted, 0.5)?,
            min: *sorted.first()?,
            max: *sorted.last()?,
            lower_quartile: quantile(&sorted, 0.25)?,
            upper_quartile: quantile(&sorted, 0.75)?,
        })
    }

    /// The distance between the quartiles, relative to the median.
    pub fn spread(&self) -> f64 {
        let distance = self.upper_quartile - self.lower_quartile;
        if distance == 0.0 { 0.0 } else { distance / self.median.abs() }
    }
}

/// The value below which this share of the sorted numbers lies, interpolated
/// between neighbours.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = share * last as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    let (low, high) = (sorted.get(low)?, sorted.get(high)?);
    Some(low + (high - low) * position.fract())
}

/// The quotient for each round, so that what slows the whole machine down for
/// a while slows down both of a pair. Rounds whose reference is zero are left out.
pub(super) fn ratios(values: &[f64], reference: &[f64]) -> Vec<f64> {
    let pairs = values.iter().zip(reference).filter(|(_, reference)| **reference != 0.0);
    pairs.map(|(value, reference)| value / reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up_odd_even_single_and_none() {
        let odd = Summary::of(&[5.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!((odd.min, odd.median, odd.max), (1.0, 3.0, 5.0));
        assert_eq!((odd.lower_quartile, odd.upper_quartile), (2.0, 4.0));
        assert_eq!(odd.spread(), 2.0 / 3.0);
        assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        let single = Summary::of(&[7.0]).unwrap();
        assert_eq!((single.min, single.median, single.max, single.spread()), (7.0, 7.0, 7.0, 0.0));
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[0.0, 0.0]).unwrap().spread(), 0.0);
    }

    #[test]
    fn one_outlier_moves_the_range_and_not_the_spread() {
        let calm = Summary::of(&[10.0, 10.0, 10.0, 10.0, 90.0]).unwrap();
        assert_eq!((calm.median, calm.max, calm.spread()), (10.0, 90.0, 0.0));
    }

    #[test]
    fn ratios_are_of_pairs() {
        // Everything runs at half speed in the second round; the ratio does not show it.
        assert_eq!(ratios(&[10.0, 5.0], &[20.0, 10.0]), [0.5, 0.5]);
        assert_eq!(ratios(&[1.0, 2.0, 3.0], &[0.0, 1.0]), [2.0]);
    }
}
