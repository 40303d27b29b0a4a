//! Integrals by Gauss and Legendre's rule on short panels.
//!
//! Enters: values of a smooth function at the ten nodes of a panel. Leaves: its integral over the panel, and over each
//! part of the panel from its start to a node. Both are exact for polynomials of degree nine; on a panel of half a
//! standard deviation of a bell curve they are right to the last bits. NIST DLMF 3.5(v).

/// Nodes of a panel.
pub(crate) const NODES: usize = 10;

/// Places of the nodes on a panel from −1 to 1: `numpy.polynomial.legendre.leggauss(10)`.
const PLACES: [f64; NODES] = [
    -0.973_906_528_517_171_7,
    -0.865_063_366_688_984_5,
    -0.679_409_568_299_024_4,
    -0.433_395_394_129_247_2,
    -0.148_874_338_981_631_22,
    0.148_874_338_981_631_22,
    0.433_395_394_129_247_2,
    0.679_409_568_299_024_4,
    0.865_063_366_688_984_5,
    0.973_906_528_517_171_7,
];

/// Weights of the nodes.
const WEIGHTS: [f64; NODES] = [
    0.066_671_344_308_688_14,
    0.149_451_349_150_580_4,
    0.219_086_362_515_982,
    0.269_266_719_309_996_5,
    0.295_524_224_714_752_8,
    0.295_524_224_714_752_8,
    0.269_266_719_309_996_5,
    0.219_086_362_515_982,
    0.149_451_349_150_580_4,
    0.066_671_344_308_688_14,
];

/// A stretch of the axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Panel {
    /// Where the nodes lie.
    pub(crate) fn places(self) -> [f64; NODES] {
        let middle = f64::midpoint(self.low, self.high);
        PLACES.map(|place| middle + self.half_width() * place)
    }

    /// What each node counts for.
    pub(crate) fn weights(self) -> [f64; NODES] {
        WEIGHTS.map(|weight| self.half_width() * weight)
    }

    /// The integral of a function over the panel.
    pub(crate) fn integral(self, function: impl Fn(f64) -> f64) -> f64 {
        self.places().into_iter().zip(self.weights()).map(|(place, weight)| weight * function(place)).sum()
    }

    pub(crate) fn half_width(self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// For each node, what the value at every node counts for in the integral from −1 to that node.
pub(crate) fn running_weights() -> [[f64; NODES]; NODES] {
    PLACES.map(|end| {
        let part = Panel { low: -1.0, high: end };
        let mut row = [0.0; NODES];
        for (node, weight) in row.iter_mut().enumerate() {
            *weight = part.integral(|place| basis(node, place));
        }
        row
    })
}

/// The polynomial of degree nine that is one at `node` and zero at the other nodes.
fn basis(node: usize, place: f64) -> f64 {
    let own = PLACES[node];
    let others = PLACES.iter().enumerate().filter(|(other, _)| *other != node);
    others.map(|(_, other)| (place - other) / (own - other)).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn polynomials_are_integrated_exactly() {
        let panel = Panel { low: 1.0, high: 3.0 };
        assert_close(panel.integral(|x| x.powi(9)), (3.0_f64.powi(10) - 1.0) / 10.0, 1e-14);
        assert_close(panel.weights().iter().sum(), 2.0, 1e-15);
    }

    #[test]
    fn running_integrals_end_at_each_node() {
        let panel = Panel { low: 0.0, high: 0.5 };
        let values = panel.places().map(f64::exp);
        for (row, end) in running_weights().iter().zip(panel.places()) {
            let part: f64 = row.iter().zip(&values).map(|(weight, value)| weight * value).sum();
            assert_close(panel.half_width() * part, end.exp_m1(), 1e-13);
        }
    }
}
