//! The curves as a picture: times against rates, one curve for each model and percentile.

use std::error::Error;
use std::fmt;
use std::path::Path;

use plotters::prelude::*;

use super::{Comparison, Curve, Point};

/// In pixels.
const SIZE: (u32, u32) = (960, 600);

/// One for each model, told apart by those who see red and green alike.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];

/// Times go over orders of magnitude: each tick is ten times the last.
type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::combinators::LogCoord<f64>>,
>;

/// Why there is no picture.
#[derive(Debug)]
pub(super) struct DrawError(String);

impl fmt::Display for DrawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for DrawError {}

fn failed(error: impl Error) -> DrawError {
    DrawError(error.to_string())
}

/// Draws into an SVG file.
pub(super) fn draw(comparison: &Comparison, file: &Path) -> Result<(), DrawError> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let points = || comparison.curves.iter().flat_map(|curve| &curve.points);
    let rate_max = points().map(|point| point.round_trips_per_second).fold(1.0, f64::max) * 1.05;
    let time_min = points().map(|point| micros(point.p50_ns)).fold(f64::MAX, f64::min) / 1.5;
    let time_max = points().map(|point| micros(point.p99_ns)).fold(time_min, f64::max) * 1.5;
    let title = format!("CPU models on {}, {} bytes", comparison.device, comparison.payload);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..rate_max, (time_min..time_max).log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("round trips per second")
        .y_desc("microseconds")
        .x_label_formatter(&|rate| format!("{:.1} M", rate / 1e6))
        .draw()
        .map_err(failed)?;
    for (curve, colour) in comparison.curves.iter().zip(COLOURS.iter().cycle()) {
        draw_curve(&mut chart, curve, "p99", *colour, |point| point.p99_ns, 2)?;
        draw_curve(&mut chart, curve, "p50", *colour, |point| point.p50_ns, 1)?;
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw().map_err(failed)?;
    area.present().map_err(failed)
}

/// One percentile of one model: a line through the loads, and a dot for each.
fn draw_curve(
    chart: &mut Chart<'_, '_>,
    curve: &Curve,
    percentile: &str,
    colour: RGBColor,
    time: impl Fn(&Point) -> u64,
    width: u32,
) -> Result<(), DrawError> {
    let style = colour.stroke_width(width);
    let dots: Vec<_> =
        curve.points.iter().map(|point| (point.round_trips_per_second, micros(time(point)))).collect();
    let line = chart.draw_series(LineSeries::new(dots.iter().copied(), style)).map_err(failed)?;
    line.label(format!("{} {percentile}", curve.model))
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    let dots = dots.into_iter().map(|dot| Circle::new(dot, width + 1, colour.filled()));
    chart.draw_series(dots).map_err(failed)?;
    Ok(())
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}
