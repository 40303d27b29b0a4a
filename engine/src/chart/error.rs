//! What can go wrong between plain data and a picture.

use plotters::drawing::DrawingAreaErrorKind;
use resvg::usvg;

use super::size::{MAX_SIDE, MIN_SIDE};

/// Why a chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChartError {
    /// The size asked for is outside what a chart is laid out for.
    #[error(
        "a chart of {width} by {height} pixels cannot be drawn: give a width and a height from {min} to {max}",
        min = MIN_SIDE,
        max = MAX_SIDE
    )]
    Size {
        /// Pixels asked for.
        width: u32,
        /// Pixels asked for.
        height: u32,
    },
    /// The drawing library refused.
    #[error("the chart could not be drawn as SVG")]
    Draw(#[from] DrawingAreaErrorKind<std::io::Error>),
    /// The text given to [`render_png`](super::render_png) is no SVG.
    #[error("the SVG could not be read to make a PNG of it: give it as draw_svg returned it")]
    ReadSvg(#[from] usvg::Error),
    /// A font that the program carries is damaged: the build is at fault, not the data.
    #[error("the fonts bundled with the program cannot be read: build it again from clean sources")]
    Fonts,
    /// The PNG could not be written.
    #[error("the PNG could not be encoded")]
    EncodePng(#[source] Box<dyn std::error::Error + Send + Sync>),
}
