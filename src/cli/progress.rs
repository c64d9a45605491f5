//! Progress bars, all in one style.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of that length; `template` is what stands in its line.
pub(crate) fn bar(length: u64, template: &str) -> ProgressBar {
    ProgressBar::new(length).with_style(style(template))
}

/// Of a template that indicatif refuses, its own style.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
