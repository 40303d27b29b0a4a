//! The size of a picture, in pixels, and its limits.

use super::error::ChartError;

/// Below this, labels and data no longer fit side by side.
pub const MIN_SIDE: u32 = 320;
/// Above this, a PNG takes more than 64 MiB of memory to draw.
pub const MAX_SIDE: u32 = 4096;

/// Width and height of a chart in pixels. The charts are laid out for 800 by 500, and text grows with larger sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChartSize {
    /// From [`MIN_SIDE`] to [`MAX_SIDE`].
    pub width: u32,
    /// From [`MIN_SIDE`] to [`MAX_SIDE`].
    pub height: u32,
}

impl Default for ChartSize {
    fn default() -> Self {
        Self { width: 800, height: 500 }
    }
}

impl ChartSize {
    /// Refuses a size that no chart can be drawn at.
    ///
    /// # Errors
    /// [`ChartError::Size`] when a side is outside [`MIN_SIDE`]..=[`MAX_SIDE`].
    pub fn check(self) -> Result<(), ChartError> {
        let allowed = MIN_SIDE..=MAX_SIDE;
        if allowed.contains(&self.width) && allowed.contains(&self.height) {
            return Ok(());
        }
        Err(ChartError::Size { width: self.width, height: self.height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_outside_the_limits_are_refused() {
        assert!(ChartSize::default().check().is_ok());
        for (width, height) in [(319, 500), (800, 4097), (0, 0), (u32::MAX, 500)] {
            assert!(ChartSize { width, height }.check().is_err());
        }
    }
}
