//! How shares are compared where the analyst wants another way than the stated rule's.

use crate::error::{EngineError, Result};
use crate::stats::VarianceCorrection;
use crate::stats::proportion::ProportionTest;

/// The interval of shares, and the exact test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProportionMethods {
    /// Whether the score test and its intervals are corrected (Miettinen and Nurminen 1985).
    pub correction: VarianceCorrection,
    /// The exact test, made whatever the counts; by default the rule for small counts chooses.
    pub exact: Option<ProportionTest>,
}

impl ProportionMethods {
    /// Reads `score` or `miettinen-nurminen`, and `fisher`, `barnard` or `boschloo`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn read(interval: Option<&str>, exact: Option<&str>) -> Result<Self> {
        let correction = match interval {
            None | Some("score") => VarianceCorrection::Uncorrected,
            Some("miettinen-nurminen") => VarianceCorrection::MiettinenNurminen,
            Some(other) => {
                return Err(EngineError::usage(format!(
                    "\"{other}\" is no interval of shares: use score or miettinen-nurminen"
                )));
            }
        };
        let exact = match exact {
            None => None,
            Some("fisher") => Some(ProportionTest::Fisher),
            Some("barnard") => Some(ProportionTest::Barnard),
            Some("boschloo") => Some(ProportionTest::Boschloo),
            Some(other) => {
                return Err(EngineError::usage(format!(
                    "\"{other}\" is no exact test: use fisher, barnard or boschloo"
                )));
            }
        };
        Ok(Self { correction, exact })
    }

    /// These, or where nothing was asked for others.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::default() { other } else { self }
    }
}
