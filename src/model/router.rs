//! Which experts work on a token, and what the share of each is, as a [`Router`](super::spec::Router) says.

use super::{
    host,
    spec::{Experts, Groups, Shares},
};

/// Experts by number, each with its share.
pub type Picked = Vec<(usize, f32)>;

/// The experts that work on a token with these scores, `[experts]`; `correction`, of as many, counts in the choice alone.
pub fn pick(scores: &[f32], correction: Option<&[f32]>, experts: &Experts) -> Picked {
    let (router, top) = (&experts.router, experts.top);
    let mut picked = match router.shares {
        Shares::Mixer { margin } => mixed(scores, margin, top),
        Shares::Softmax | Shares::Sigmoid => {
            let shares = shares(scores, router.shares);
            // Scores stand in the order of shares, and apart where these are rounded to the same.
            let mut merits = match (correction, router.groups) {
                (None, None) => scores.to_vec(),
                _ => shares.clone(),
            };
            for (merit, correction) in merits.iter_mut().zip(correction.unwrap_or_default()) {
                *merit += correction;
            }
            if let Some(groups) = router.groups {
                keep_groups(&mut merits, groups);
            }
            best(&merits, top).into_iter().map(|expert| (expert, shares[expert])).collect()
        }
    };
    if let Some(least) = router.divided {
        let total = picked.iter().map(|expert| expert.1).sum::<f32>().max(least);
        if total > 0.0 {
            picked.iter_mut().for_each(|expert| expert.1 /= total);
        }
    }
    picked.iter_mut().for_each(|expert| expert.1 *= router.scale);
    picked
}

fn shares(scores: &[f32], kind: Shares) -> Vec<f32> {
    let mut shares = scores.to_vec();
    match kind {
        Shares::Sigmoid => shares.iter_mut().for_each(|share| *share = 1.0 / (1.0 + (-*share).exp())),
        _ => host::softmax(&mut shares, None),
    }
    shares
}

/// The places of the `top` largest, from the largest on; of equals the first comes first.
fn best(merits: &[f32], top: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..merits.len()).collect();
    order.sort_by(|&a, &b| merits[b].total_cmp(&merits[a]));
    order.truncate(top);
    order
}

/// Leaves nothing of the merits of experts in groups that are not picked.
fn keep_groups(merits: &mut [f32], groups: Groups) {
    let size = merits.len() / groups.count;
    let worth = |group: &[f32]| best(group, groups.best).into_iter().map(|expert| group[expert]).sum();
    let worths: Vec<f32> = merits.chunks_exact(size).map(worth).collect();
    let kept = best(&worths, groups.top);
    for (group, merits) in merits.chunks_exact_mut(size).enumerate() {
        if !kept.contains(&group) {
            merits.fill(f32::NEG_INFINITY);
        }
    }
}

/// See [`Shares::Mixer`].
fn mixed(scores: &[f32], margin: f32, top: usize) -> Picked {
    let mut left = scores.to_vec();
    let mut picked = Picked::new();
    for expert in best(scores, top) {
        let most = scores[expert];
        let is_near = |place: usize| (most - left[place]) / scores[place].abs().max(most) <= margin;
        let near = (0..left.len()).filter(|&place| place == expert || is_near(place));
        let total: f32 = near.map(|place| (left[place] - most).exp()).sum();
        picked.push((expert, 1.0 / total));
        left[expert] = f32::NEG_INFINITY;
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::Router;

    const SCORES: [f32; 6] = [2.0, 1.0, -1.0, 0.5, 1.5, 1.75];

    fn picked(router: Router, correction: Option<&[f32]>) -> Picked {
        pick(&SCORES, correction, &Experts { count: 6, top: 2, router, shared: None })
    }

    fn near(picked: Picked, expected: [(usize, f32); 2]) {
        for (found, expected) in picked.iter().zip(expected) {
            assert!(found.0 == expected.0 && (found.1 - expected.1).abs() < 1e-6, "{picked:?}");
        }
        assert_eq!(picked.len(), 2);
    }

    #[test]
    fn a_softmax_of_those_picked_is_one_of_all_that_is_divided() {
        let total: f32 = SCORES.iter().map(|score| score.exp()).sum();
        let shares = [2f32.exp(), 1.75f32.exp()];
        near(picked(Router::SOFTMAX, None), [(0, shares[0] / total), (5, shares[1] / total)]);
        let sum = shares[0] + shares[1];
        near(picked(Router::OF_PICKED, None), [(0, shares[0] / sum), (5, shares[1] / sum)]);
    }

    #[test]
    fn corrections_choose_and_do_not_weigh() {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let router = Router { shares: Shares::Sigmoid, corrected: true, scale: 3.0, ..Router::SOFTMAX };
        let correction = [-1.0, 0.0, 1.0, 0.0, 0.5, 0.0];
        near(picked(router, Some(&correction)), [(4, 3.0 * sigmoid(1.5)), (2, 3.0 * sigmoid(-1.0))]);
    }

    #[test]
    fn experts_come_from_the_groups_whose_best_are_best() {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let of = |best| Router {
            shares: Shares::Sigmoid,
            groups: Some(Groups { count: 3, top: 1, best }),
            ..Router::SOFTMAX
        };
        near(picked(of(1), None), [(0, sigmoid(2.0)), (1, sigmoid(1.0))]);
        near(picked(of(2), None), [(5, sigmoid(1.75)), (4, sigmoid(1.5))]);
    }

    #[test]
    fn a_mixer_weighs_each_pick_among_those_that_are_near_it() {
        let router = Router { shares: Shares::Mixer { margin: 0.2 }, ..Router::SOFTMAX };
        // 1.75 is near 2.0; of the rest 1.5 is near 1.75, and 1.0 is not.
        let of = |own: f32, other: f32| own.exp() / (own.exp() + other.exp());
        near(picked(router, None), [(0, of(2.0, 1.75)), (5, of(1.75, 1.5))]);
    }
}
