//! Annotations in VOC's form: an XML file for each picture.

use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};

use super::kind::Kind;
use crate::error::{Error, printable};
use crate::output::read_text;

/// Largest file that is read.
const LIMIT: u64 = 16 << 20;
/// Most elements and texts in it. The nesting is not limited otherwise: the tree is built and left without recursion.
const NODES: u32 = 500_000;
/// Most signs of attributes and of namespaces. VOC has neither, and the parser compares each attribute with all others of its
/// element.
const ATTRIBUTES: usize = 10_000;
const NAMESPACES: usize = 100;
/// No picture has so many pixels in a row.
const LARGEST_CORNER: f64 = 1e9;
/// How much of a wrong text a message shows.
const SHOWN: usize = 40;

/// What is annotated in a picture.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Annotation {
    /// Width and height in pixels, if both are given and above 0.
    pub(super) size: Option<(usize, usize)>,
    pub(super) objects: Vec<Object>,
    /// What is wrong with objects that cannot be used.
    pub(super) broken: Vec<String>,
}

/// A thing and its box.
#[derive(Debug, PartialEq)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) difficult: bool,
    /// xmin, ymin, xmax, ymax as they are in the file: pixels, both ends inclusive, and the first pixel is 1.
    pub(super) corners: [f64; 4],
}

impl Annotation {
    /// # Errors
    /// [`Error::File`] if the file cannot be read, is larger than 16 MiB, is not well-formed XML, or is no annotation.
    pub(super) fn open(path: &Path) -> Result<Annotation, Error> {
        if path.exists() && !path.is_file() {
            return Err(Error::expected(path, "an annotation", "no regular file"));
        }
        let text = read_text(path, LIMIT)?;
        Annotation::parse(&text).map_err(|message| Error::file(path, message))
    }

    fn parse(text: &str) -> Result<Annotation, String> {
        for (sign, most) in [("=", ATTRIBUTES), ("xmlns", NAMESPACES)] {
            if text.matches(sign).nth(most).is_some() {
                return Err(format!("expected at most {most} of `{sign}` in an annotation, found more"));
            }
        }
        let options = ParsingOptions { nodes_limit: NODES, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options).map_err(|e| match e {
            roxmltree::Error::DtdDetected => "expected XML without a document type, found <!DOCTYPE".into(),
            e => format!("expected well-formed XML, found: {}", printable(&e.to_string())),
        })?;
        let root = document.root_element();
        if root.tag_name().name() != "annotation" {
            let found = printable(&cut(root.tag_name().name()));
            return Err(format!("expected <annotation>, found <{found}>"));
        }
        let mut annotation = Annotation { size: child(root, "size").and_then(size), ..Annotation::default() };
        let objects = root.children().filter(|node| node.has_tag_name("object"));
        for (number, node) in (1..).zip(objects) {
            match object(node) {
                Ok(object) => annotation.objects.push(object),
                Err(message) => annotation.broken.push(format!("object {number}: {message}")),
            }
        }
        Ok(annotation)
    }
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|node| node.has_tag_name(name))
}

/// The text of a child, without the space around it, nor comments in it.
fn text_of(node: Node, name: &str) -> Option<String> {
    let child = child(node, name)?;
    let text: String = child.children().filter(Node::is_text).filter_map(|part| part.text()).collect();
    Some(text.trim().to_owned())
}

fn size(node: Node) -> Option<(usize, usize)> {
    let side = |name| text_of(node, name)?.parse().ok().filter(|&side: &usize| side > 0);
    Some((side("width")?, side("height")?))
}

fn object(node: Node) -> Result<Object, String> {
    let name = text_of(node, "name").filter(|name| !name.is_empty()).ok_or("expected a name, found none")?;
    let bounds = child(node, "bndbox").ok_or("expected a bndbox, found none")?;
    let corner = |name: &str| {
        let text = text_of(bounds, name).ok_or_else(|| format!("expected {name} in bndbox, found none"))?;
        let number = text.parse().ok().filter(|number: &f64| number.abs() <= LARGEST_CORNER);
        number.ok_or_else(|| format!("expected {name} to be a number of pixels, found {:?}", cut(&text)))
    };
    let corners = [corner("xmin")?, corner("ymin")?, corner("xmax")?, corner("ymax")?];
    let difficult = match text_of(node, "difficult").as_deref() {
        None | Some("" | "0" | "false" | "False") => false,
        Some("1" | "true" | "True") => true,
        Some(other) => return Err(format!("expected difficult to be 0 or 1, found {:?}", cut(other))),
    };
    Ok(Object { name, difficult, corners })
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

impl Object {
    /// The box's edges, where 0 is the picture's: pixel 1 reaches from 0 to 1. Areas and intersections are those of the VOC
    /// kit, which adds 1 to every difference instead.
    pub(super) fn edges(&self) -> [f64; 4] {
        let [xmin, ymin, xmax, ymax] = self.corners;
        [xmin - 1.0, ymin - 1.0, xmax, ymax]
    }

    /// What is odd about the box in a picture of this size.
    pub(super) fn oddity(&self, (width, height): (usize, usize)) -> Option<(Kind, String)> {
        let [xmin, ymin, xmax, ymax] = self.corners;
        let found = format!("{} from {xmin}, {ymin} to {xmax}, {ymax}", printable(&cut(&self.name)));
        if xmax < xmin || ymax < ymin {
            Some((Kind::Inverted, format!("expected a box with its lower corner first, found {found}")))
        } else if xmax == xmin || ymax == ymin {
            Some((Kind::Thin, format!("expected a box of more than one pixel each way, found {found}")))
        } else if xmin < 1.0 || ymin < 1.0 || xmax > width as f64 || ymax > height as f64 {
            Some((Kind::Outside, format!("expected a box between 1, 1 and {width}, {height}, found {found}")))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(corners: [&str; 4]) -> String {
        let names = ["xmin", "ymin", "xmax", "ymax"];
        let corners: String =
            names.iter().zip(corners).map(|(name, text)| format!("<{name}>{text}</{name}>")).collect();
        format!("<bndbox>{corners}</bndbox>")
    }

    fn annotation(inside: &str) -> Annotation {
        Annotation::parse(&format!("<annotation>{inside}</annotation>")).unwrap()
    }

    #[test]
    fn comments_are_no_text() {
        let corners = bounds(["<!--a-->1", "2<!--b-->", "<!-- c -->30", "4<!-- d -->0"]);
        let object = |name: &str| annotation(&format!("<object><name>{name}</name>{corners}</object>")).objects;
        for name in ["<!-- white --> WBC", "W<!-- x -->BC", "WBC", "<![CDATA[WB]]>C"] {
            let expected = Object { name: "WBC".into(), difficult: false, corners: [1.0, 2.0, 30.0, 40.0] };
            assert_eq!(object(name), [expected], "{name}");
        }
    }

    #[test]
    fn attributes_are_few() {
        let with = |count: usize| {
            let attributes: String = (0..count).map(|number| format!(" a{number}='1'")).collect();
            Annotation::parse(&format!("<annotation{attributes}/>"))
        };
        assert_eq!(with(100), Ok(Annotation::default()));
        assert_eq!(with(ATTRIBUTES + 1).unwrap_err(), "expected at most 10000 of `=` in an annotation, found more");
    }

    #[test]
    fn objects_and_size() {
        let text = format!(
            "<?xml version=\"1.0\"?>\n<!-- by hand -->\n<annotation><size><width> 640 </width><height>480</height></size>\
             <object><name> cat </name><difficult>1</difficult>{}<part><name>head</name>{}</part></object>\
             <object><name>a &amp; b</name>{}</object></annotation>",
            bounds(["1", "2", "3.5", " 4\n"]),
            bounds(["0", "0", "0", "0"]),
            bounds(["5", "6", "7", "8e1"]),
        );
        let found = Annotation::parse(&text).unwrap();
        let object = |name: &str, difficult, corners| Object { name: name.into(), difficult, corners };
        let objects = vec![object("cat", true, [1.0, 2.0, 3.5, 4.0]), object("a & b", false, [5.0, 6.0, 7.0, 80.0])];
        assert_eq!(found, Annotation { size: Some((640, 480)), objects, broken: Vec::new() });
        assert_eq!(annotation(""), Annotation::default());
    }

    #[test]
    fn sizes_that_are_none() {
        for size in ["", "<size/>", "<size><width>3</width></size>", "<size><width>0</width><height>0</height></size>"]
        {
            assert_eq!(annotation(size).size, None, "{size}");
        }
    }

    #[test]
    fn broken_objects_are_told_and_the_others_stay() {
        let good = format!("<object><name>cat</name>{}</object>", bounds(["1", "1", "2", "2"]));
        for (bad, expected) in [
            ("<object/>".to_owned(), "expected a name, found none"),
            ("<object><name> </name></object>".into(), "expected a name, found none"),
            ("<object><name>a</name></object>".into(), "expected a bndbox, found none"),
            ("<object><name>a</name><bndbox/></object>".into(), "expected xmin in bndbox, found none"),
            (
                format!("<object><name>a</name>{}</object>", bounds(["1", "x", "1", "1"])),
                "expected ymin to be a number of pixels, found \"x\"",
            ),
            (
                format!("<object><name>a</name>{}</object>", bounds(["1", "1", "nan", "1"])),
                "expected xmax to be a number of pixels, found \"nan\"",
            ),
            (
                format!("<object><name>a</name>{}<difficult>2</difficult></object>", bounds(["1"; 4])),
                "expected difficult to be 0 or 1, found \"2\"",
            ),
        ] {
            let found = annotation(&format!("{good}{bad}{good}"));
            assert_eq!(found.objects.len(), 2);
            assert_eq!(found.broken, [format!("object 2: {expected}")]);
        }
    }

    #[test]
    fn what_is_no_annotation() {
        let message = |text: &str| Annotation::parse(text).unwrap_err();
        assert_eq!(message("<html/>"), "expected <annotation>, found <html>");
        for text in ["", "<annotation>", "<annotation><object></annotation>", "{}", "<annotation/><annotation/>", "\0"]
        {
            assert!(message(text).starts_with("expected well-formed XML, found: "), "{text}");
        }
        // Entities that double and double are refused with the document type that defines them.
        let bomb = r#"<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>"#;
        assert!(message(bomb).contains("document type"), "{}", message(bomb));
    }

    /// A million levels deep, closed and cut off: neither the parser nor the tree overflows the stack.
    #[test]
    fn deep_nesting() {
        for depth in [1000, 100_000, 1_000_000] {
            let open = "<annotation>".to_owned() + &"<a>".repeat(depth);
            assert!(Annotation::parse(&open).is_err());
            let closed = open + &"</a>".repeat(depth) + "</annotation>";
            assert_eq!(Annotation::parse(&closed).is_ok(), depth < NODES as usize, "{depth}");
        }
    }

    #[test]
    fn odd_boxes() {
        let oddity = |corners| Object { name: "cat".into(), difficult: false, corners }.oddity((100, 50));
        assert_eq!(oddity([1.0, 1.0, 100.0, 50.0]), None);
        let kinds = [
            ([0.0, 1.0, 9.0, 9.0], Kind::Outside),
            ([1.0, 1.0, 101.0, 9.0], Kind::Outside),
            ([1.0, 1.0, 9.0, 50.5], Kind::Outside),
            ([9.0, 1.0, 9.0, 8.0], Kind::Thin),
            ([504.0, 337.0, 504.0, 337.0], Kind::Thin),
            ([9.0, 1.0, 8.0, 8.0], Kind::Inverted),
        ];
        for (corners, kind) in kinds {
            assert_eq!(oddity(corners).unwrap().0, kind, "{corners:?}");
        }
        let message = oddity([9.0, 1.0, 8.5, 8.0]).unwrap().1;
        assert_eq!(message, "expected a box with its lower corner first, found cat from 9, 1 to 8.5, 8");
    }
}
