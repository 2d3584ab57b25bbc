//! Draws curves as an SVG file, with logarithmic axes. It uses no other crate.

use std::fmt::Write as _;

/// One line of a plot.
pub struct Curve {
    pub name: String,
    /// Positive values, from left to right.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
/// The space for the names of the curves.
const RIGHT: f64 = 230.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 46.0;

const COLOURS: [&str; 8] =
    ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f"];

/// The logarithms of the ends of an axis, which has at least one decade.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(a, b), value| (a.min(value), b.max(value)));
    let (low, high) = (least.log10().floor(), most.log10().ceil());
    (low, high.max(low + 1.0))
}

/// Formats a power of ten as a label of an axis.
fn label(exponent: i32) -> String {
    match exponent {
        0..=3 => format!("{}", 10_u32.pow(exponent.unsigned_abs())),
        -3..=-1 => format!("{:.*}", exponent.unsigned_abs() as usize, 10_f64.powi(exponent)),
        _ => format!("1e{exponent}"),
    }
}

/// Draws curves. The axes have names with units.
pub fn svg(title: &str, x_name: &str, y_name: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (x_low, x_high) = ends(points().map(|(x, _)| *x));
    let (y_low, y_high) = ends(points().map(|(_, y)| *y));
    let at_x = |x: f64| LEFT + (x.log10() - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
    let at_y = |y: f64| HEIGHT - BOTTOM - (y.log10() - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    let mut line = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for exponent in x_low as i32..=x_high as i32 {
        let x = at_x(10_f64.powi(exponent));
        line(format!("<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>"));
        line(format!(
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            label(exponent)
        ));
    }
    for exponent in y_low as i32..=y_high as i32 {
        let y = at_y(10_f64.powi(exponent));
        line(format!("<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>"));
        line(format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            label(exponent)
        ));
    }
    line(format!(
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{x_name}</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 8.0
    ));
    line(format!(
        "<text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{y_name}</text>",
        (TOP + bottom) / 2.0
    ));
    for (place, curve) in curves.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let path = curve.points.iter().enumerate().fold(String::new(), |mut path, (at, (x, y))| {
            let _ = write!(path, "{}{:.1} {:.1}", if at == 0 { 'M' } else { 'L' }, at_x(*x), at_y(*y));
            path
        });
        line(format!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
        let y = TOP + 10.0 + 18.0 * place as f64;
        line(format!("<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{}</text>", right + 10.0, curve.name));
    }
    line("</svg>".to_owned());
    svg
}
