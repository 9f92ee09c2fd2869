//! Pictures of what was found, as SVG.

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, SegmentValue, ValueFormatter};
use plotters::prelude::*;

use crate::failure::{Failure, Result};

/// Of one picture, in pixels.
const SIZE: (u32, u32) = (960, 440);

/// Told apart by those who see red and green alike (Okabe and Ito's).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
];

/// Of grid and frame.
const FAINT: RGBColor = RGBColor(225, 228, 232);
const INK: RGBColor = RGBColor(40, 44, 52);

/// Where the names of lines stand, in pixels.
const LEGEND_WIDTH: u32 = 200;
const LEGEND_TOP: i32 = 60;
const LEGEND_LINE: i32 = 22;

/// Where the names of bars stand, in pixels.
const NAMES_WIDTH: u32 = 270;

/// Room above the highest value.
const HEADROOM: f64 = 1.12;

/// One picture.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) content: Content,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Lines(Vec<Line>),
    Bars(Vec<Bar>),
}

/// What is measured along an edge.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) scale: Scale,
}

/// How values are laid out along an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero on.
    Linear,
    /// The same, where there is nothing between two whole numbers.
    Whole,
    /// Each tick a power of ten.
    Tens,
    /// Each tick a power of two, for counts that double.
    Twos,
    /// The same for bytes.
    Bytes,
}

impl Scale {
    fn is_logarithmic(self) -> bool {
        !matches!(self, Scale::Linear | Scale::Whole)
    }
}

/// A curve.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Lines that belong together have one colour.
    pub(super) colour: usize,
    pub(super) is_thin: bool,
}

/// The least, the median and the greatest of several values.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) group: usize,
    pub(super) values: [f64; 3],
}

impl Axis {
    pub(super) fn new(label: &'static str, scale: Scale) -> Axis {
        Axis { label, scale }
    }
}

impl Line {
    pub(super) fn new(name: impl Into<String>, colour: usize, points: Vec<(f64, f64)>) -> Line {
        Line { name: name.into(), points, colour, is_thin: false }
    }

    pub(super) fn thin(self) -> Line {
        Line { is_thin: true, ..self }
    }
}

impl Plot {
    pub(super) fn lines(title: impl Into<String>, x: Axis, y: Axis, lines: Vec<Line>) -> Plot {
        Plot { title: title.into(), x, y, content: Content::Lines(lines) }
    }
}

/// Text of a drawing error: the backend that writes into a string has none, but plotters cannot know.
fn failed(error: impl Error) -> Failure {
    Failure::Error(format!("cannot draw: {error}"))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the pictures one above the other.
pub(super) fn draw(plots: &[Plot]) -> Result<String> {
    let mut svg = String::new();
    let count = plots.len().max(1);
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0, SIZE.1 * count as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        for (plot, area) in plots.iter().zip(area.split_evenly((count, 1))) {
            match &plot.content {
                Content::Lines(lines) => draw_lines(plot, lines, &area)?,
                Content::Bars(bars) => draw_bars(plot, bars, &area)?,
            }
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn draw_lines(plot: &Plot, lines: &[Line], area: &Area<'_>) -> Result {
    let (area, legend) = area.split_horizontally(SIZE.0 - if lines.len() > 1 { LEGEND_WIDTH } else { 0 });
    if lines.len() > 1 {
        draw_legend(lines, &legend)?;
    }
    let area = &area;
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = range(points().map(|(x, _)| *x), plot.x.scale, 1.0);
    let y = range(points().map(|(_, y)| *y), plot.y.scale, HEADROOM);
    let log = |range: &Range<f64>, scale| (range.start..range.end).log_scale().base(base(scale));
    let (x_scale, y_scale) = (plot.x.scale, plot.y.scale);
    match (x_scale.is_logarithmic(), y_scale.is_logarithmic()) {
        (false, false) => on_axes(plot, lines, area, x, y),
        (false, true) => on_axes(plot, lines, area, x, log(&y, y_scale)),
        (true, false) => on_axes(plot, lines, area, log(&x, x_scale), y),
        (true, true) => on_axes(plot, lines, area, log(&x, x_scale), log(&y, y_scale)),
    }
}

fn base(scale: Scale) -> f64 {
    if matches!(scale, Scale::Twos | Scale::Bytes) { 2.0 } else { 10.0 }
}

/// From the least value to the greatest, never empty; a linear scale starts at zero.
fn range(values: impl Iterator<Item = f64>, scale: Scale, headroom: f64) -> Range<f64> {
    let (min, max) = values
        .filter(|value| value.is_finite())
        .fold((f64::MAX, f64::MIN), |(min, max), value| (min.min(value), max.max(value)));
    let (min, max) = if min > max { (1.0, 2.0) } else { (min, max) };
    match scale {
        Scale::Linear | Scale::Whole => 0.0..(max * headroom).max(f64::MIN_POSITIVE),
        _ => {
            let (min, max) = (min.max(1e-9), max.max(1e-9));
            let margin = if headroom > 1.0 || min == max { 1.5 } else { 1.0 };
            min / margin..max * margin
        }
    }
}

fn on_axes<X, Y>(plot: &Plot, lines: &[Line], area: &Area<'_>, x: X, y: Y) -> Result
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
{
    let mut chart = builder(plot, area).build_cartesian_2d(x, y).map_err(failed)?;
    let (x_scale, y_scale) = (plot.x.scale, plot.y.scale);
    chart
        .configure_mesh()
        .x_desc(plot.x.label)
        .y_desc(plot.y.label)
        .x_labels(9)
        .y_labels(7)
        .x_label_formatter(&|value| tick(*value, x_scale))
        .y_label_formatter(&|value| tick(*value, y_scale))
        .light_line_style(WHITE)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .label_style(("sans-serif", 14, &INK))
        .axis_desc_style(("sans-serif", 15, &INK))
        .draw()
        .map_err(failed)?;
    for Line { points, colour, is_thin, .. } in lines {
        let colour = COLOURS[colour % COLOURS.len()];
        let style = colour.stroke_width(if *is_thin { 1 } else { 2 });
        let dots = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
        chart.draw_series(LineSeries::new(dots.clone(), style)).map_err(failed)?;
        let size = if *is_thin { 2 } else { 3 };
        chart.draw_series(dots.map(|dot| Circle::new(dot, size, colour.filled()))).map_err(failed)?;
    }
    Ok(())
}

/// The names of the lines, beside the picture, where no line is hidden by them.
fn draw_legend(lines: &[Line], area: &Area<'_>) -> Result {
    for (index, line) in lines.iter().enumerate() {
        let y = LEGEND_TOP + LEGEND_LINE * index as i32;
        let style = COLOURS[line.colour % COLOURS.len()].stroke_width(if line.is_thin { 1 } else { 3 });
        area.draw(&PathElement::new([(4, y + 7), (24, y + 7)], style)).map_err(failed)?;
        let font = ("sans-serif", 14).into_font().color(&INK);
        area.draw(&Text::new(line.name.clone(), (32, y), font)).map_err(failed)?;
    }
    Ok(())
}

fn builder<'a, 'b>(plot: &Plot, area: &'a Area<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .caption(&plot.title, ("sans-serif", 20, &INK))
        .margin(14)
        .margin_right(28)
        .x_label_area_size(48)
        .y_label_area_size(72);
    builder
}

/// A bar as long as the median, with a line from the least to the greatest, and a line across at 1.
fn draw_bars(plot: &Plot, bars: &[Bar], area: &Area<'_>) -> Result {
    let max = range(bars.iter().flat_map(|bar| bar.values), Scale::Linear, HEADROOM).end;
    let count = bars.len().max(1);
    let mut builder = builder(plot, area);
    let builder = builder.y_label_area_size(NAMES_WIDTH);
    let mut chart = builder.build_cartesian_2d(0.0..max, (0..count).into_segmented()).map_err(failed)?;
    // The first is at the top.
    let slot = |index: usize| count - 1 - index;
    // The axis asks for one place more than there are.
    let bar_at = |place: usize| bars.iter().rev().nth(place);
    let name = |value: &SegmentValue<usize>| match value {
        SegmentValue::CenterOf(place) => bar_at(*place).map(|bar| bar.name.clone()).unwrap_or_default(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc(plot.y.label)
        .y_labels(count)
        .y_label_formatter(&name)
        .x_label_formatter(&|value| tick(*value, Scale::Linear))
        .light_line_style(WHITE)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .label_style(("sans-serif", 13, &INK))
        .axis_desc_style(("sans-serif", 15, &INK))
        .draw()
        .map_err(failed)?;
    let rectangles = bars.iter().enumerate().map(|(index, bar)| {
        let colour = COLOURS[bar.group % COLOURS.len()].mix(0.75);
        let (below, above) = (SegmentValue::Exact(slot(index)), SegmentValue::Exact(slot(index) + 1));
        let mut rectangle = Rectangle::new([(0.0, below), (bar.values[1], above)], colour.filled());
        rectangle.set_margin(4, 4, 0, 0);
        rectangle
    });
    chart.draw_series(rectangles).map_err(failed)?;
    let spreads = bars.iter().enumerate().map(|(index, bar)| {
        let ends = [bar.values[0], bar.values[2]].map(|value| (value, SegmentValue::CenterOf(slot(index))));
        PathElement::new(ends, INK.stroke_width(2))
    });
    chart.draw_series(spreads).map_err(failed)?;
    let level = [(1.0, SegmentValue::Exact(0)), (1.0, SegmentValue::Last)];
    chart.draw_series([PathElement::new(level, INK.stroke_width(1))]).map_err(failed)?;
    Ok(())
}

/// A value at the edge, in few characters.
fn tick(value: f64, scale: Scale) -> String {
    match scale {
        Scale::Bytes => return bytes(value),
        Scale::Whole if value.fract() != 0.0 => return String::new(),
        _ => {}
    }
    let (value, unit) = match value.abs() {
        1e9.. => (value / 1e9, " G"),
        1e6.. => (value / 1e6, " M"),
        1e4.. => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = match value.abs() {
        100.0.. => format!("{value:.0}"),
        0.095.. => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// A number of bytes, in the units of memory.
pub(super) fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let mut value = value;
    let mut index = 0;
    while value >= 1024.0 && index + 1 < units.len() {
        value /= 1024.0;
        index += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.trim_end_matches('0').trim_end_matches('.'), units[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short() {
        for (value, text) in
            [(0.0, "0"), (0.5, "0.5"), (1.0, "1"), (64.0, "64"), (2_500_000.0, "2.5 M"), (100_000.0, "100 k")]
        {
            assert_eq!(tick(value, Scale::Linear), text);
        }
        assert_eq!((bytes(63_488.0), bytes(40.0 * 1048576.0)), ("62 KiB".into(), "40 MiB".into()));
    }

    #[test]
    fn a_range_is_never_empty() {
        assert_eq!(range([0.0].into_iter(), Scale::Linear, 1.0).start, 0.0);
        for scale in [Scale::Linear, Scale::Tens, Scale::Twos] {
            for values in [vec![], vec![3.0], vec![f64::NAN, 2.0]] {
                let range = range(values.into_iter(), scale, HEADROOM);
                assert!(range.start < range.end, "{range:?}");
            }
        }
    }

    #[test]
    fn every_scale_and_kind_is_drawn() {
        let scales = [Scale::Linear, Scale::Whole, Scale::Tens, Scale::Twos, Scale::Bytes];
        let lines =
            || vec![Line::new("one", 0, vec![(1.0, 5.0), (1024.0, 9.0)]), Line::new("other", 1, vec![])];
        let mut plots: Vec<_> = scales
            .iter()
            .flat_map(|x| scales.iter().map(move |y| (*x, *y)))
            .map(|(x, y)| Plot::lines("a title", Axis::new("left to right", x), Axis::new("up", y), lines()))
            .collect();
        let bars = vec![Bar { name: "smoltcp".into(), group: 0, values: [1.0, 1.5, 2.0] }];
        let (x, y) = (Axis::new("", Scale::Linear), Axis::new("ratio", Scale::Linear));
        plots.push(Plot { title: "bars".into(), x, y, content: Content::Bars(bars) });
        let svg = draw(&plots).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        for part in ["a title", "left to right", "other", "polyline", "smoltcp", "ratio"] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
    }
}
