//! Gradient-boosted trees: trained by the crate forust, kept and asked in a form of our own.
//!
//! In: features and an outcome, in an order that is fixed. Out: [`BoostedTrees`], which serialises, and answers a million
//! rows a second and more: rows are laid out in blocks, and eight of them go down a tree together.
//!
//! Friedman (2001), "Greedy function approximation: a gradient boosting machine"; Chen and Guestrin (2016), "`XGBoost`", for
//! the regularised gain. How many trees is found on a tenth of the units that the trees are not grown from; of a mean five
//! times, each time on another fifth, and the five are averaged (Breiman 1996, "Bagging predictors"): a mean that is nearly
//! all noise, as an effect is, would end now after one tree and now after a hundred.

use forust_ml::GradientBooster;
use forust_ml::data::Matrix;
use forust_ml::metric::Metric;
use forust_ml::objective::ObjectiveType;
use serde::{Deserialize, Serialize};

use crate::query::threads;
use crate::stats::{FeatureMatrix, Learner, Predictor, StatsError};

/// Rows that are laid out beside one another at a time.
const BLOCK: usize = 256;
/// Rows that go down a tree together, so that one's wait for memory is another's work.
const TOGETHER: usize = 8;
/// Rows below which a second thread costs more than it brings.
const ROWS_A_THREAD: usize = 4_096;
/// Every so manieth unit tells when to stop.
const STOPPING: usize = 10;
/// Of a mean so many models are averaged, each of which stops on another share of the units.
const AVERAGED: usize = 5;
/// Fewer units than this are all trained on, with few trees.
const FEW_UNITS: usize = 2_000;
/// Trees where too few units are there to tell when to stop.
const FEW_TREES: usize = 50;

/// What trees are grown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeOutcome {
    /// The probability of an outcome of 0 or 1.
    Probability,
    /// The mean of a number.
    Mean,
}

/// How trees are grown. The defaults are those of the comparison in `docs/scores.md`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoostedTreesLearner {
    /// What for.
    pub outcome: TreeOutcome,
    /// Trees at most.
    pub trees: usize,
    /// By how much each tree's answer counts.
    pub learning_rate: f32,
    /// Splits from the root to a leaf, at most.
    pub depth: usize,
    /// Least weight of a leaf: units for a mean; Σ p (1 − p) for a probability.
    pub leaf_weight: f32,
}

impl BoostedTreesLearner {
    /// The defaults for an outcome.
    pub fn new(outcome: TreeOutcome) -> Self {
        let leaf_weight = match outcome {
            TreeOutcome::Probability => 20.0,
            TreeOutcome::Mean => 50.0,
        };
        Self { outcome, trees: 300, learning_rate: 0.1, depth: 3, leaf_weight }
    }
}

/// One split or leaf.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "PlainNode", into = "PlainNode")]
struct Node {
    /// A value below it goes to the first of the children, any other to the second, a missing one to the third.
    threshold: f64,
    children: [u32; 3],
    column: u32,
    value: f32,
}

/// A node as it is written: column, threshold, children, value. A leaf is its own child.
type PlainNode = (u32, f64, [u32; 3], f32);

impl From<PlainNode> for Node {
    fn from((column, threshold, children, value): PlainNode) -> Self {
        Self { threshold, children, column, value }
    }
}

impl From<Node> for PlainNode {
    fn from(node: Node) -> Self {
        (node.column, node.threshold, node.children, node.value)
    }
}

impl Node {
    fn child(&self, value: f64) -> u32 {
        let way = if value.is_nan() { 2 } else { usize::from(value >= self.threshold) };
        self.children[way]
    }
}

/// One tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tree {
    depth: u32,
    nodes: Vec<Node>,
}

/// Trees that were grown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoostedTrees {
    outcome: TreeOutcome,
    /// Where the sum over the trees begins: log-odds or a mean.
    base: f64,
    columns: usize,
    trees: Vec<Tree>,
}

impl Learner for BoostedTreesLearner {
    type Model = BoostedTrees;

    fn fit(
        &self,
        features: &FeatureMatrix,
        outcome: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<BoostedTrees, StatsError> {
        let rows = features.rows();
        check(self.outcome, rows, outcome, weights)?;
        let ones = vec![1.0; if weights.is_some() { 0 } else { rows }];
        let weights = weights.unwrap_or(&ones);
        if rows < FEW_UNITS {
            let mut booster = self.booster(FEW_TREES.min(self.trees), outcome, weights);
            let data = Matrix::new(features.values(), rows, features.columns());
            booster.fit(&data, outcome, weights, None).map_err(not_fitted)?;
            return Ok(BoostedTrees::of(&booster, self.outcome, features.columns()));
        }
        let grown = |every: usize, which: usize| self.grown((features, outcome, weights), every, which);
        match self.outcome {
            TreeOutcome::Probability => grown(STOPPING, STOPPING - 1),
            TreeOutcome::Mean => {
                let models = (0..AVERAGED).map(|which| grown(AVERAGED, which));
                Ok(BoostedTrees::average(models.collect::<Result<_, StatsError>>()?, features.columns()))
            }
        }
    }
}

fn not_fitted(error: impl std::fmt::Display) -> StatsError {
    StatsError::NotFitted { reason: error.to_string() }
}

fn check(kind: TreeOutcome, rows: usize, outcome: &[f64], weights: Option<&[f64]>) -> Result<(), StatsError> {
    let lists = [("the outcomes", outcome.len()), ("the weights", weights.map_or(rows, <[f64]>::len))];
    for (left, left_length) in lists {
        if left_length != rows {
            let (right, right_length) = ("the features", rows);
            return Err(StatsError::UnevenLists { left, left_length, right, right_length });
        }
    }
    if let Some(value) = outcome.iter().copied().find(|value| !value.is_finite()) {
        return Err(StatsError::NotFinite { quantity: "an outcome", value });
    }
    let Some(&first) = outcome.first() else {
        return Err(StatsError::NotFitted { reason: "there are no units to learn from".to_owned() });
    };
    #[allow(clippy::float_cmp, reason = "classes are exactly zero or one")]
    if kind == TreeOutcome::Probability && outcome.iter().all(|value| *value == first) {
        return Err(StatsError::OneClass { value: first });
    }
    Ok(())
}

/// Some of the units.
struct Part {
    features: FeatureMatrix,
    outcome: Vec<f64>,
    weights: Vec<f64>,
}

impl Part {
    fn of(features: &FeatureMatrix, outcome: &[f64], weights: &[f64], rows: &[usize]) -> Self {
        Self {
            features: features.select(rows),
            outcome: rows.iter().map(|row| outcome[*row]).collect(),
            weights: rows.iter().map(|row| weights[*row]).collect(),
        }
    }

    fn matrix(&self) -> Matrix<'_, f64> {
        Matrix::new(self.features.values(), self.features.rows(), self.features.columns())
    }
}

impl BoostedTreesLearner {
    /// Trees from all units but one in so many, which tell when to stop.
    fn grown(
        &self,
        (features, outcome, weights): (&FeatureMatrix, &[f64], &[f64]),
        every: usize,
        which: usize,
    ) -> Result<BoostedTrees, StatsError> {
        let part = |stopping: bool| -> Vec<usize> {
            (0..features.rows()).filter(|row| (row % every == which) == stopping).collect()
        };
        let (grow, stop) =
            (Part::of(features, outcome, weights, &part(false)), Part::of(features, outcome, weights, &part(true)));
        let mut booster = self.booster(self.trees, &grow.outcome, &grow.weights).set_early_stopping_rounds(Some(20));
        let evaluation = vec![(stop.matrix(), stop.outcome.as_slice(), stop.weights.as_slice())];
        booster.fit(&grow.matrix(), &grow.outcome, &grow.weights, Some(evaluation)).map_err(not_fitted)?;
        Ok(BoostedTrees::of(&booster, self.outcome, features.columns()))
    }

    fn booster(&self, trees: usize, outcome: &[f64], weights: &[f64]) -> GradientBooster {
        let total: f64 = weights.iter().sum();
        let mean = outcome.iter().zip(weights).map(|(value, weight)| value * weight).sum::<f64>() / total;
        let (objective, base, metric) = match self.outcome {
            TreeOutcome::Probability => (ObjectiveType::LogLoss, (mean / (1.0 - mean)).ln(), Metric::LogLoss),
            TreeOutcome::Mean => (ObjectiveType::SquaredLoss, mean, Metric::RootMeanSquaredError),
        };
        GradientBooster::default()
            .set_objective_type(objective)
            .set_base_score(base)
            .set_iterations(trees)
            .set_learning_rate(self.learning_rate)
            .set_max_depth(self.depth)
            .set_min_leaf_weight(self.leaf_weight)
            .set_nbins(255)
            // Rows at a time: quicker, and the same on any number of threads.
            .set_tiled_histograms(true)
            .set_evaluation_metric(Some(metric))
    }
}

impl BoostedTrees {
    fn of(booster: &GradientBooster, outcome: TreeOutcome, columns: usize) -> Self {
        let used = booster.prediction_iteration.or(booster.best_iteration.map(|best| best + 1));
        let trees = booster.trees.iter().take(used.unwrap_or(booster.trees.len()));
        let place = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let node = |(own, node): (usize, &_)| {
            let node: &forust_ml::tree::Tree = node;
            let node = &node.nodes[own];
            let children = if node.is_leaf {
                [place(own); 3]
            } else {
                [node.left_child, node.right_child, node.missing_node].map(place)
            };
            Node {
                threshold: if node.is_leaf { 0.0 } else { node.split_value },
                children,
                column: if node.is_leaf { 0 } else { place(node.split_feature) },
                value: node.weight_value,
            }
        };
        let trees = trees
            .map(|tree| Tree {
                depth: tree.nodes.iter().map(|node| place(node.depth)).max().unwrap_or(0),
                nodes: (0..tree.nodes.len()).map(|own| node((own, tree))).collect(),
            })
            .collect();
        Self { outcome, base: booster.base_score, columns, trees }
    }

    /// The mean of some models of a mean: sums of trees add up, so it is one model again.
    fn average(models: Vec<Self>, columns: usize) -> Self {
        #[allow(clippy::cast_precision_loss)] // A handful.
        let share = 1.0 / models.len() as f64;
        let base = models.iter().map(|model| model.base).sum::<f64>() * share;
        let mut trees: Vec<Tree> = models.into_iter().flat_map(|model| model.trees).collect();
        for node in trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
            #[allow(clippy::cast_possible_truncation)] // A fifth of a number of that size.
            let value = (f64::from(node.value) * share) as f32;
            node.value = value;
        }
        Self { outcome: TreeOutcome::Mean, base, columns, trees }
    }

    /// How many trees there are.
    pub fn len(&self) -> usize {
        self.trees.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// What was summed over the trees for each row: log-odds of a probability, or the mean itself.
    ///
    /// # Panics
    /// When there are fewer columns than the trees were grown from.
    pub fn sums(&self, features: &FeatureMatrix) -> Vec<f64> {
        let mut sums = vec![self.base; features.rows()];
        in_parts(&mut sums, &mut [], 0, |first, sums, _| {
            let mut block = Block::new(self.columns);
            for (number, sums) in sums.chunks_mut(BLOCK).enumerate() {
                block.fill(features, first + number * BLOCK, sums.len());
                for tree in &self.trees {
                    tree.each_leaf(&block, sums.len(), |row, leaf| sums[row] += f64::from(tree.nodes[leaf].value));
                }
            }
        });
        sums
    }

    /// The sums, and what each column moved each row's sum by, row after row: at every split the change from the node's
    /// value to that of the child (Saabas 2014). With the base and the roots' values they add up to the sum.
    ///
    /// # Panics
    /// As [`BoostedTrees::sums`].
    pub fn sums_with_contributions(&self, features: &FeatureMatrix) -> (Vec<f64>, Vec<f64>) {
        let columns = self.columns;
        let ways: Vec<Vec<Way>> = self.trees.iter().map(Tree::ways).collect();
        let (mut sums, mut moved) = (vec![self.base; features.rows()], vec![0.0; features.rows() * columns]);
        in_parts(&mut sums, &mut moved, columns, |first, sums, moved| {
            let mut block = Block::new(columns);
            let parts = sums.chunks_mut(BLOCK).zip(moved.chunks_mut((BLOCK * columns).max(1)));
            for (number, (sums, moved)) in parts.enumerate() {
                block.fill(features, first + number * BLOCK, sums.len());
                for (tree, ways) in self.trees.iter().zip(&ways) {
                    tree.each_leaf(&block, sums.len(), |row, leaf| {
                        sums[row] += f64::from(tree.nodes[leaf].value);
                        for (column, by) in &ways[leaf] {
                            moved[row * columns + column] += by;
                        }
                    });
                }
            }
        });
        (sums, moved)
    }

    /// A sum as what the trees are grown for.
    fn outcome_of(&self, mut sums: Vec<f64>) -> Vec<f64> {
        if self.outcome == TreeOutcome::Probability {
            for sum in &mut sums {
                *sum = 1.0 / (1.0 + (-*sum).exp());
            }
        }
        sums
    }

    /// [`Predictor::predict`] and the contributions together, for little more than either.
    ///
    /// # Panics
    /// As [`BoostedTrees::sums`].
    pub fn explain(&self, features: &FeatureMatrix) -> (Vec<f64>, Vec<f64>) {
        let (sums, moved) = self.sums_with_contributions(features);
        (self.outcome_of(sums), moved)
    }
}

/// Splits a number a row, and so many more a row, among the cores.
fn in_parts(sums: &mut [f64], moved: &mut [f64], width: usize, work: impl Fn(usize, &mut [f64], &mut [f64]) + Sync) {
    let rows = sums.len();
    let parts = threads().min(rows.div_ceil(ROWS_A_THREAD)).max(1);
    let rows_a_part = rows.div_ceil(parts).max(1);
    if parts == 1 {
        return work(0, sums, moved);
    }
    std::thread::scope(|scope| {
        let mut moved = moved;
        for (number, sums) in sums.chunks_mut(rows_a_part).enumerate() {
            let (own, rest) = moved.split_at_mut(sums.len() * width);
            moved = rest;
            let work = &work;
            scope.spawn(move || work(number * rows_a_part, sums, own));
        }
    });
}

/// Some rows, one after another.
struct Block {
    columns: usize,
    values: Vec<f64>,
}

impl Block {
    fn new(columns: usize) -> Self {
        Self { columns, values: vec![0.0; columns * BLOCK] }
    }

    fn fill(&mut self, features: &FeatureMatrix, first: usize, rows: usize) {
        for column in 0..self.columns {
            let values = &features.column(column)[first..first + rows];
            for (row, value) in values.iter().enumerate() {
                self.values[row * self.columns + column] = *value;
            }
        }
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }
}

/// By how much each column on the way to a leaf moves the sum, from the root on.
type Way = Vec<(usize, f64)>;

impl Tree {
    /// Tells of each of the first rows of a block at which leaf it ends.
    fn each_leaf(&self, block: &Block, rows: usize, mut tell: impl FnMut(usize, usize)) {
        let together = rows - rows % TOGETHER;
        for first in (0..together).step_by(TOGETHER) {
            let mut at = [0_u32; TOGETHER];
            for _ in 0..self.depth {
                for (lane, at) in at.iter_mut().enumerate() {
                    let node = &self.nodes[*at as usize];
                    *at = node.child(block.values[(first + lane) * block.columns + node.column as usize]);
                }
            }
            for (lane, at) in at.into_iter().enumerate() {
                tell(first + lane, at as usize);
            }
        }
        for row in together..rows {
            let values = block.row(row);
            let mut at = 0_u32;
            for _ in 0..self.depth {
                let node = &self.nodes[at as usize];
                at = node.child(values[node.column as usize]);
            }
            tell(row, at as usize);
        }
    }

    /// The way to each node, by its place: so it is found once and not for each row.
    fn ways(&self) -> Vec<Way> {
        let mut ways = vec![Way::new(); self.nodes.len()];
        let mut next = vec![0_usize];
        while let Some(at) = next.pop() {
            let node = &self.nodes[at];
            let mut children = node.children.map(|child| child as usize);
            children.sort_unstable();
            for (place, child) in children.into_iter().enumerate() {
                // A leaf is its own child; a missing value often has the child of another.
                if child != at && children[..place].last() != Some(&child) {
                    let by = f64::from(self.nodes[child].value) - f64::from(node.value);
                    let way = ways[at].iter().copied().chain([(node.column as usize, by)]).collect();
                    ways[child] = way;
                    next.push(child);
                }
            }
        }
        ways
    }
}

impl Predictor for BoostedTrees {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        self.outcome_of(self.sums(features))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units with a step in the first feature, a missing value in the second, and noise in the third.
    fn units(rows: usize) -> (FeatureMatrix, Vec<f64>) {
        let draw = |row: usize, column: u64| {
            let bits = xxhash_rust::xxh3::xxh3_64_with_seed(&row.to_le_bytes(), column);
            #[allow(clippy::cast_precision_loss)]
            let share = (bits >> 11) as f64 / (1_u64 << 53) as f64;
            share
        };
        let mut values: Vec<f64> = (0..3).flat_map(|column| (0..rows).map(move |row| draw(row, column))).collect();
        for row in (0..rows).step_by(5) {
            values[rows + row] = f64::NAN;
        }
        let features = FeatureMatrix::new(values, rows, 3).unwrap();
        let outcome = (0..rows)
            .map(|row| {
                let missing = features.column(1)[row].is_nan();
                let chance = if features.column(0)[row] >= 0.7 { 0.6 } else { 0.1 } + if missing { 0.2 } else { 0.0 };
                f64::from(u8::from(draw(row, 9) < chance))
            })
            .collect();
        (features, outcome)
    }

    #[test]
    fn trees_find_the_step_and_the_missing_value() {
        let (features, outcome) = units(20_000);
        let trees = BoostedTreesLearner::new(TreeOutcome::Probability).fit(&features, &outcome, None).unwrap();
        let (mut sums, mut counts) = ([0.0; 4], [0.0; 4]);
        for (row, probability) in trees.predict(&features).into_iter().enumerate() {
            let kind = usize::from(features.column(0)[row] >= 0.7) * 2 + usize::from(features.column(1)[row].is_nan());
            sums[kind] += probability;
            counts[kind] += 1.0;
        }
        for (kind, truth) in [0.1, 0.3, 0.6, 0.8].into_iter().enumerate() {
            // Three standard errors of the smallest kind of about 1,200 units are 0.035; as much again is left to trees that
            // stop where more of them no longer help.
            assert!(
                (sums[kind] / counts[kind] - truth).abs() < 0.07,
                "{kind}: {} by {} trees",
                sums[kind] / counts[kind],
                trees.len()
            );
        }
    }

    #[test]
    fn sums_and_contributions_are_those_of_the_crate_that_grew_the_trees() {
        let (features, outcome) = units(1_500);
        let learner = BoostedTreesLearner::new(TreeOutcome::Probability);
        let ones = vec![1.0; 1_500];
        let mut booster = learner.booster(FEW_TREES, &outcome, &ones);
        let data = Matrix::new(features.values(), 1_500, 3);
        booster.fit(&data, &outcome, &ones, None).unwrap();
        let trees = BoostedTrees::of(&booster, TreeOutcome::Probability, 3);
        let sums = trees.sums(&features);
        let (again, contributions) = trees.sums_with_contributions(&features);
        assert_eq!(again, sums);
        for (ours, theirs) in sums.iter().zip(booster.predict(&data, false)) {
            assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
        }
        let roots: f64 = trees.trees.iter().map(|tree| f64::from(tree.nodes[0].value)).sum();
        for (row, moved) in contributions.chunks(3).enumerate() {
            assert!((trees.base + roots + moved.iter().sum::<f64>() - sums[row]).abs() < 1e-6);
        }
        let text = serde_json::to_string(&trees).unwrap();
        let back: BoostedTrees = serde_json::from_str(&text).unwrap();
        assert_eq!(back, trees);
        assert_eq!(back.sums(&features), sums);
    }

    #[test]
    fn a_mean_is_the_average_of_models_that_stop_on_other_units() {
        let (features, outcome) = units(5_000);
        let learner = BoostedTreesLearner::new(TreeOutcome::Mean);
        let ones = vec![1.0; 5_000];
        let of = |which| learner.grown((&features, &outcome, &ones), AVERAGED, which).unwrap().predict(&features);
        let models: Vec<Vec<f64>> = (0..AVERAGED).map(of).collect();
        assert_ne!(models[0], models[1]);
        let together = learner.fit(&features, &outcome, None).unwrap();
        for (row, value) in together.predict(&features).into_iter().enumerate() {
            let mean = models.iter().map(|model| model[row]).sum::<f64>() / 5.0;
            assert!((value - mean).abs() < 1e-6, "{row}: {value} {mean}");
        }
    }

    #[test]
    fn the_same_units_grow_the_same_trees() {
        let (features, outcome) = units(5_000);
        let learner = BoostedTreesLearner::new(TreeOutcome::Mean);
        assert_eq!(learner.fit(&features, &outcome, None), learner.fit(&features, &outcome, None));
    }

    #[test]
    fn what_cannot_be_learnt_is_refused() {
        let (features, outcome) = units(100);
        let learner = BoostedTreesLearner::new(TreeOutcome::Probability);
        let error = |outcome: &[f64]| learner.fit(&features, outcome, None).unwrap_err();
        assert_eq!(error(&[0.0; 100]), StatsError::OneClass { value: 0.0 });
        assert!(matches!(error(&outcome[..50]), StatsError::UnevenLists { left_length: 50, .. }));
        let mut broken = outcome.clone();
        broken[3] = f64::NAN;
        assert!(matches!(error(&broken), StatsError::NotFinite { .. }));
    }
}
