//! What a row of measured ratios says, where chance moves each of them.
//!
//! The median counts: one round in which a timer ran out more often is one round. How far chance may have moved it shows in how
//! far the rounds lie apart, and whoever has that little to go by that it could be either measures on. That goes for a good
//! median as for a bad one, so that no row is measured until it pleases.

/// With fewer rounds, how far they lie apart is a guess itself.
pub const ROUNDS_MIN: usize = 5;

/// With so many, the median decides whatever it is worth.
pub const ROUNDS_MAX: usize = 15;

/// So many standard errors from the floor a median is clear.
const CLEAR: f64 = 2.5;

/// The middle half of a normal distribution, in standard deviations.
const MIDDLE_HALF: f64 = 1.349;

/// The standard error of a median, in those of a mean.
const OF_MEDIAN: f64 = 1.253;

/// The median of ratios; of an even number, between the middle two.
pub fn median(ratios: &[f64]) -> f64 {
    quantile(&logarithms(ratios), 0.5).exp()
}

/// Whether the median of these is at least `floor`. `None` if that is not clear yet.
pub fn judge(ratios: &[f64], floor: f64) -> Option<bool> {
    let logs = logarithms(ratios);
    let above = quantile(&logs, 0.5) - floor.ln();
    let deviation = (quantile(&logs, 0.75) - quantile(&logs, 0.25)) / MIDDLE_HALF;
    let error = OF_MEDIAN * deviation / (logs.len() as f64).sqrt();
    let is_clear = logs.len() >= ROUNDS_MIN && above.abs() > CLEAR * error;
    (is_clear || logs.len() >= ROUNDS_MAX).then_some(above >= 0.0)
}

/// In order. Twice as fast is as far from the same as half as fast.
fn logarithms(ratios: &[f64]) -> Vec<f64> {
    let mut logs: Vec<_> = ratios.iter().map(|ratio| ratio.ln()).collect();
    logs.sort_by(f64::total_cmp);
    logs
}

fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::Random;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert!((median(&[4.0, 0.1, 1.5]) - 1.5).abs() < 1e-9);
        assert!((median(&[0.5, 2.0]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_lies_close_together_is_clear_either_way() {
        let good = [1.0, 1.01, 0.99, 1.02, 0.4];
        assert_eq!((judge(&good, 0.9), judge(&good[..4], 0.9)), (Some(true), None));
        assert_eq!(judge(&[0.8, 0.81, 0.79, 0.8, 3.0], 0.9), Some(false));
        assert_eq!(judge(&[0.5, 0.8, 1.0, 1.3, 2.0], 0.9), None);
        let wide: Vec<_> = (0..ROUNDS_MAX).map(|i| if i % 2 == 0 { 0.5 } else { 2.0 }).collect();
        assert_eq!((judge(&wide, 0.9), judge(&wide[1..], 0.9)), (Some(false), None));
    }

    /// About normal.
    fn normal(random: &mut Random) -> f64 {
        (0..12).map(|_| f64::from(random.next_u32()) / f64::from(u32::MAX)).sum::<f64>() - 6.0
    }

    /// How many of a thousand tests are passed where ratios have this median and deviation, and by how many rounds.
    fn passed(of: f64, deviation: f64, floor: f64) -> (usize, usize) {
        let mut random = Random::new(5);
        let (mut passed, mut rounds) = (0, 0);
        for _ in 0..1000 {
            let mut ratios = Vec::new();
            let is_good = loop {
                ratios.push(of * (normal(&mut random) * deviation).exp());
                if ratios.len() % 2 == 1
                    && let Some(is_good) = judge(&ratios, floor)
                {
                    break is_good;
                }
            };
            (passed, rounds) = (passed + usize::from(is_good), rounds + ratios.len());
        }
        (passed, rounds / 1000)
    }

    /// As measured on a good cable, on one that loses 1 %, and on one that loses 5 %; and each a third slower.
    #[test]
    fn chance_fails_hardly_any_test_and_passes_hardly_any_that_should_fail() {
        for (of, deviation, floor) in [(0.98, 0.015, 0.9), (1.06, 0.12, 0.9), (1.3, 0.55, 0.7)] {
            let (good, slow) = (passed(of, deviation, floor), passed(of * 0.67, deviation, floor));
            println!("{of} ± {deviation}: {good:?}, a third slower {slow:?}");
            assert!(good.0 >= 995, "{good:?} of 1000 tests with a median of {of}");
            if deviation < 0.5 {
                assert!(slow.0 <= 10, "{slow:?} of 1000 tests with one of {}", of * 0.67);
            }
        }
        // Where single rounds lie between a half and eight, only more than that is found out.
        let slow = passed(0.5, 0.55, 0.7);
        assert!(slow.0 <= 30, "{slow:?}");
    }
}
