use super::*;

fn bar(name: &str, microseconds: f64, bound_microseconds: f64) -> Bar {
    Bar { name: name.into(), microseconds, bound_microseconds, bound: Bound::Memory }
}

fn panel(title: &str, bars: Vec<Bar>) -> Panel {
    Panel { title: title.into(), subtitle: "a CPU, 1 thread".into(), bars }
}

/// Every element is closed in its order, and no text or attribute has a bare `<` or `&`.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "in {svg}");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a name"));
        }
        rest = &rest[end + 1..];
        assert!(rest.is_empty() == open.is_empty() || rest.trim().is_empty(), "more than one document: {rest}");
    }
    assert!(open.is_empty(), "{open:?} not closed in {svg}");
    for (at, _) in svg.match_indices('&') {
        let known = ["&lt;", "&gt;", "&amp;", "&quot;", "&apos;"];
        assert!(known.iter().any(|entity| svg[at..].starts_with(entity)), "{}", &svg[at..]);
    }
    assert!(svg.chars().all(|c| c == '\n' || !c.is_control()), "control characters in {svg}");
}

/// `(x, width)` of the bars, in order; the first one is the legend's.
fn bars_of(svg: &str) -> Vec<(i32, i32)> {
    let is_bar = |line: &&str| line.starts_with("<rect") && line.contains("#7DB1E8");
    let number = |line: &str, name: &str| {
        let value = line.split_once(&format!(" {name}=\"")).expect("the attribute").1;
        value.split('"').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    svg.lines().filter(is_bar).map(|line| (number(line, "x"), number(line, "width"))).collect()
}

#[test]
fn a_bar_per_block_as_long_as_it_takes() {
    let svg = blocks(&[panel("net", vec![bar("stem", 200.0, 150.0), bar("pool", 50.0, 10.0), bar("none", 0.0, 0.0)])]);
    assert_well_formed(&svg);
    let bars = bars_of(&svg);
    assert_eq!(bars.len(), 1 + 3, "{svg}");
    assert!(bars[1..].iter().all(|bar| bar.0 == bars[1].0), "{bars:?}");
    assert!((bars[1].1 - 4 * bars[2].1).abs() <= 4 && bars[3].1 <= 1, "{bars:?}");
    for figures in ["200 µs · 75 %", "50 µs · 20 %", "0 µs · 0 %"] {
        assert!(svg.contains(figures), "{figures} in {svg}");
    }
}

#[test]
fn names_are_escaped_and_cut() {
    let hostile = "<b>&\"'\u{1b}[31m\u{0}\n\u{ffff}</b>";
    let svg = blocks(&[panel(hostile, vec![bar(hostile, 1.0, 1.0), bar(&"é".repeat(10_000), 1.0, 1.0)])]);
    assert_well_formed(&svg);
    assert!(svg.contains("&lt;b&gt;&amp;&quot;&apos;[31m&lt;/b&gt;"), "{svg}");
    assert!(svg.contains(&format!("{}…", "é".repeat(40))) && !svg.contains(&"é".repeat(41)));
}

#[test]
fn every_number_can_be_drawn() {
    let numbers = [f64::NAN, f64::INFINITY, -1.0, 0.0, f64::MIN_POSITIVE, 1e-3, 1.0, 1e300, f64::MAX];
    for a in numbers {
        assert_well_formed(&blocks(&[panel("one", vec![bar("a", a, a)])]));
        for b in numbers {
            let svg = blocks(&[panel("two", vec![bar("a", a, b), bar("b", b, 1.0)])]);
            assert_well_formed(&svg);
            assert!(bars_of(&svg).iter().all(|&(x, width)| x >= 0 && x + width <= WIDTH as i32), "{svg}");
        }
    }
}

#[test]
fn panels_stand_below_each_other() {
    let one = blocks(&[panel("first", vec![bar("a", 1.0, 1.0)])]);
    let two = blocks(&[panel("first", vec![bar("a", 1.0, 1.0)]), panel("another", vec![])]);
    assert_well_formed(&two);
    let height = |svg: &str| svg.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse::<i32>().unwrap();
    assert_eq!(height(&two), 2 * height(&one));
    assert!(two.contains("first") && two.contains("another") && !one.contains("another"));
    assert_well_formed(&blocks(&[]));
}

#[test]
fn figures_have_three_digits() {
    let shown = [0.0, 0.123, 1.0, 9.994, 9.996, 12.34, 99.94, 99.96, 1234.4, 200.0, 1e300].map(number);
    assert_eq!(shown, ["0", "0.12", "1", "9.99", "10", "12.3", "99.9", "100", "1234", "200", "1.00e300"]);
}

fn chart(names: &[&str], points: Vec<Point>) -> Chart {
    let series = names.iter().map(|&name| Series { name: name.into(), points: points.clone() });
    let [title, subtitle, x, y] = ["title", "subtitle", "across", "up"].map(str::to_owned);
    Chart { title, subtitle, x, y, series: series.collect() }
}

fn point(label: &str, x: f64, y: f64) -> Point {
    Point { label: label.into(), x, y }
}

#[test]
fn a_line_joins_points_with_labels() {
    let svg = scatter(&[chart(&["net"], vec![point("0.5", 2.0, 100.0), point("1.0", 6.0, 311.0)])]);
    assert_well_formed(&svg);
    for text in ["title", "subtitle", "across", "up", "net", "0.5", "1.0"] {
        assert!(svg.lines().any(|line| line == text), "{text} in {svg}");
    }
    // A marker of the legend and one for each point, in the first colour; so is the line.
    assert_eq!((svg.matches("<circle").count(), svg.matches("#C2410C").count() >= 4), (3, true), "{svg}");
    assert_eq!(svg.lines().filter(|line| line.starts_with("<polyline") && line.contains("#C2410C")).count(), 1);
}

#[test]
fn every_chart_can_be_drawn() {
    let hostile = "<b>&\"'\u{1b}[31m\u{0}\n\u{ffff}</b>";
    let numbers = [f64::NAN, f64::INFINITY, -1.0, 0.0, 5e-324, 1e-3, 1.0, 1e300, f64::MAX];
    for a in numbers {
        for b in numbers {
            assert_well_formed(&scatter(&[chart(&["one"], vec![point("a", a, b), point(hostile, b, 1.0)])]));
        }
    }
    let names: Vec<_> = (0..40).map(|i| if i % 2 == 0 { hostile } else { "a name of some length" }).collect();
    let crowded = (0..40).map(|i| point(hostile, f64::from(i % 3), 1.0)).collect();
    let svg = scatter(&[chart(&names, crowded), chart(&[], Vec::new()), chart(&["none"], Vec::new())]);
    assert_well_formed(&svg);
    assert_eq!(svg.lines().filter(|&line| line == "title").count(), 3);
    assert_well_formed(&scatter(&[]));
}

#[test]
fn every_layer_has_a_bar_and_marks() {
    let bar = |name: &str, output, weights| SignalBar {
        name: name.into(),
        output,
        weights,
        value: Some(30.0),
        clipped: Some(0.0001),
    };
    let panel = |bars| SignalPanel {
        title: "a network in int8".into(),
        subtitle: "minmax, 100 pictures".into(),
        output: "output against f32".into(),
        bars,
    };
    let svg = signal(&[panel(vec![bar("stem", Some(40.0), Some(45.0)), bar("kept", Some(20.0), None)])]);
    assert_well_formed(&svg);
    let bars = bars_of(&svg);
    assert_eq!(bars.len(), 1 + 2, "{svg}");
    assert!((bars[1].1 - 2 * bars[2].1).abs() <= 2, "{bars:?}");
    // A mark in the legend and one per layer with such a figure; twice the legend's other mark.
    assert_eq!((svg.matches("<rect").count(), svg.contains("40.0 dB · 0.010 %")), (1 + 3 + 2 + 3, true), "{svg}");
    let numbers = [None, Some(f64::NAN), Some(f64::INFINITY), Some(-1e300), Some(0.0), Some(1e300)];
    for a in numbers {
        for b in numbers {
            let svg = signal(&[panel(vec![bar("<b>&\u{1b}", a, b), bar(&"é".repeat(1000), b, a)])]);
            assert_well_formed(&svg);
            assert!(bars_of(&svg).iter().all(|&(x, width)| x >= 0 && x + width <= WIDTH as i32), "{svg}");
        }
    }
    assert_well_formed(&signal(&[panel(Vec::new()), panel(Vec::new())]));
    assert_well_formed(&signal(&[]));
}

#[test]
fn curves_join_their_points() {
    let curve = |name: &str, points: &[(f64, f64)]| Curve { name: name.into(), points: points.to_vec() };
    let hostile = curve("<&\u{1b}", &[(f64::NAN, 0.5), (0.5, 1.5), (-1.0, 0.5), (0.5, f64::INFINITY), (0.25, 0.75)]);
    let curves_of_chart = vec![curve("cat", &[(0.0, 1.0), (0.5, 1.0), (1.0, 0.0)]), hostile, curve("none", &[])];
    let chart = CurveChart { title: "a title".into(), curves: curves_of_chart, ..CurveChart::default() };
    let svg = curves(&[chart.clone(), chart, CurveChart::default()]);
    assert_well_formed(&svg);
    // The field begins at 84 and ends at 880.
    let line = svg.lines().find(|line| line.starts_with("<polyline") && line.matches(',').count() == 3).unwrap();
    assert!(line.contains("points=\"84,88 482,88 880,508 \""), "{line}");
    assert_eq!(svg.matches("<circle").count(), 2);
    assert!(svg.contains("&lt;&amp;") && svg.contains("0.5"));
}
