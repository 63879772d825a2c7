use mnx::Spec;

use super::*;

fn spec(labels: &[&str]) -> Spec {
    let mut spec = Spec::family("mobilenext-cifar").unwrap();
    spec.classes = labels.len();
    spec.labels = Some(labels.iter().map(|&label| label.to_owned()).collect());
    spec
}

/// A model of so many classes that have no names.
fn unlabelled(classes: usize) -> Spec {
    let mut spec = Spec::family("mobilenext-cifar").unwrap();
    (spec.classes, spec.labels) = (classes, None);
    spec
}

/// The classes of these folders by a map.
fn classes_by(text: &str, spec: &Spec, folders: &[&str]) -> Vec<Option<usize>> {
    let classes = Classes::new(spec);
    let map = ClassMap::parse(text, &classes).unwrap();
    folders.iter().map(|folder| map.class_of(OsStr::new(folder), &classes).unwrap()).collect()
}

fn error(text: &str, spec: &Spec) -> String {
    ClassMap::parse(text, &Classes::new(spec)).unwrap_err()
}

const ANIMALS: [&str; 4] = ["tench", "cat", "crane", "crane"];

#[test]
fn a_map_goes_before_names() {
    let spec = spec(&["cat", "polar bear"]);
    for text in [
        "n01\tcat\ncat\tpolar_bear\nx y\t0\n",
        "\u{feff}n01\tcat\r\ncat\t1\r\nx y\t00",
        "\n\nn01\tcat \n \t \ncat\t1\n\r\nx y\t0\n\n",
        r#"{"n01": "cat", "cat": "polar bear", "x y": "0"}"#,
    ] {
        let found = classes_by(text, &spec, &["n01", "cat", "x y", "0", "n02"]);
        assert_eq!(found, [Some(0), Some(1), Some(0), Some(0), None], "{text}");
    }
}

#[test]
fn maps_of_imagenet_agree_whatever_their_form() {
    let folders = ["n01440764", "n02123045", "n02012849", "n03126707"];
    for text in [
        // By order, which tells the two cranes apart.
        "n01440764 tench, Tinca tinca\nn02012849 crane\nn02123045 cat, tabby\nn03126707 crane\n",
        "n01440764\nn02012849\r\nn02123045\nn03126707\n\n",
        r#"["n01440764", "n02012849", "n02123045", "n03126707"]"#,
        r#"[["n01440764", "tench"], ["n02012849", "crane"], ["n02123045", "cat"], ["n03126707", "crane"]]"#,
        r#"{"0": ["n01440764", "tench"], "1": ["n02012849", "crane"], "2": ["n02123045", "cat"], "3": ["n03126707", "crane"]}"#,
        r#"{"n01440764": 0, "n02012849": 1, "n02123045": 2, "n03126707": 3}"#,
        r#" {"3": "n03126707", "0": "n01440764", "1": "n02012849", "2": "n02123045"}"#,
        "n01440764\t0\nn02012849\t1\nn02123045\t2\nn03126707\t3\n",
        "n02012849 1\nn01440764 0\nn02123045 2\nn03126707 3\n",
        "n02012849,1\nn01440764,0\nn02123045,2\nn03126707,3\n",
    ] {
        for spec in [spec(&["tench", "crane", "cat", "crane"]), unlabelled(4)] {
            let found = classes_by(text, &spec, &folders);
            assert_eq!(found, [Some(0), Some(2), Some(1), Some(3)], "{text}");
        }
    }
}

#[test]
fn names_that_several_classes_have_are_no_evidence() {
    // torchvision's labels; only one of the cranes and maillots is called as in WordNet.
    let spec = spec(&["tench", "crane bird", "crane", "maillot", "maillot tank suit"]);
    let folders = ["n02012849", "n03126707", "n03710637", "n03710721"];
    let lines = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\nn03710637 maillot\n\
                 n03710721 maillot, tank suit\n";
    let json = r#"{"0": ["n01440764", "tench"], "1": ["n02012849", "crane"], "2": ["n03126707", "crane"],
                   "3": ["n03710637", "maillot"], "4": ["n03710721", "maillot"]}"#;
    for text in [lines, json, &lines.replace(' ', "\t")] {
        assert_eq!(classes_by(text, &spec, &folders), [Some(1), Some(2), Some(3), Some(4)], "{text}");
    }
    // Nothing shows that the order is the classes', or something that it is not.
    let others = ["a", "b", "c", "d", "crane"].iter().zip(0..).map(|(name, i)| format!("n0000000{i} {name}\n"));
    assert!(error(&others.collect::<String>(), &spec).starts_with("line 1: expected a label of the model"));
}

#[test]
fn labels_decide_where_a_file_has_another_order() {
    let spec = spec(&["ship", "cat", "sea lion"]);
    for text in [
        "n02123045 cat, tabby\n",
        "n02123045 cat, tabby\nn04266014 ship\nn02077923 sea_lion, seal\n",
        "n02077923 sea lion\nn02123045 tabby, cat\nn04266014 ship\n",
        r#"{"n02123045": "tabby, cat", "n04266014": ["boat", "ship"], "n02077923": "sea lion"}"#,
    ] {
        assert_eq!(classes_by(text, &spec, &["n02123045"]), [Some(1)], "{text}");
    }
    // Numbers that are folders, as in the Oxford flowers.
    let found = classes_by(r#"{"21": "cat", "3": "sea lion", "1": "ship"}"#, &spec, &["21", "3", "1", "2"]);
    assert_eq!(found, [Some(1), Some(2), Some(0), Some(2)]);
}

#[test]
fn a_map_of_nothing_is_refused() {
    let spec = spec(&["cat", "dog"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map");
    for text in ["", "\n\n", "\u{feff}", "{}"] {
        std::fs::write(&path, text).unwrap();
        let error = ClassMap::open(&path, &Classes::new(&spec)).unwrap_err().to_string();
        assert!(error.ends_with("map: expected folders and their classes, found none"), "{text:?}: {error}");
    }
}

#[test]
fn classes_after_a_background_are_shifted_and_it_is_said() {
    let spec = spec(&["background", "tench", "goldfish", "shark"]);
    let folders = ["n01440764", "n01443537", "n01484850"];
    for text in [
        "n01440764 tench\nn01443537 goldfish\nn01484850 shark\n",
        "n01440764\nn01443537\nn01484850\n",
        r#"{"0": ["n01440764", "a"], "1": ["n01443537", "b"], "2": ["n01484850", "c"]}"#,
        r#"{"n01440764": 0, "n01443537": 1, "n01484850": 2}"#,
    ] {
        let map = ClassMap::parse(text, &Classes::new(&spec)).unwrap();
        let note = "class numbers leave out the model's class 0 (\"background\"): 0 is class 1 (\"tench\")";
        assert_eq!(map.note(), Some(note), "{text}");
        assert_eq!(folders.map(|folder| map.get(OsStr::new(folder))), [Some(1), Some(2), Some(3)], "{text}");
    }
    // Some of the classes, where names tell; and where nothing does.
    let some = r#"{"1": ["n01443537", "goldfish"]}"#;
    assert_eq!(classes_by(some, &spec, &folders), [None, Some(2), None]);
    let own = ClassMap::parse(r#"{"n01443537": 2}"#, &Classes::new(&spec)).unwrap();
    assert_eq!((own.get(OsStr::new("n01443537")), own.note().is_some()), (Some(2), true));
    // Of a model without labels nothing tells.
    let list: String = (0..1000).map(|i| format!("n{i:08}\n")).collect();
    let hint = "; labels would say whether the model's class 0 is a background";
    let expected = "expected 1001 folders in the order of the classes, found 1000";
    assert_eq!(error(&list, &unlabelled(1001)), format!("{expected}{hint}"));
    let json: Vec<_> = (0..1000).map(|i| format!(r#""n{i:08}": {i}"#)).collect();
    let message = error(&format!("{{{}}}", json.join(",")), &unlabelled(1001));
    assert!(message.contains("expected a model with labels") && message.contains("from 0 to 999"), "{message}");
}

#[test]
fn a_wrong_line_is_named() {
    let spec = spec(&["cat", "dog"]);
    let neighbours = "as its neighbours: a label, an index, or a list of folder and names";
    for (text, message) in [
        ("a\tcat\nb cat\n", "line 2: expected a folder, a tab and a label or class index, found \"b cat\""),
        ("a\tcat\n\nb dog\n", "line 3: expected a folder, a tab and a label or class index, found \"b dog\""),
        ("\tcat\n", "line 1: expected a folder, a tab and a label or class index, found \"\\tcat\""),
        ("a\thorse\n", "line 1: expected a label of the model or an index from 0 to 1, found \"horse\""),
        ("a\t2\n", "line 1: expected a label of the model or an index from 0 to 1, found \"2\""),
        ("a\t\n", "line 1: expected a label of the model or an index from 0 to 1, found \"\""),
        ("a\tcat\nb\tdog\na\tcat\n", "line 3: expected a folder that has no line yet, found \"a\""),
        ("n02123045 lynx\n", "line 1: expected a label of the model or an index from 0 to 1, found \"lynx\""),
        ("n02123045\nn0212\n", "line 2: expected a folder, a tab and a label or class index, found \"n0212\""),
        ("n02123045\ta\nb\tcat\n", "line 1: expected a label of the model or an index from 0 to 1, found \"a\""),
        ("n02123045\n", "expected 2 folders in the order of the classes, found 1"),
        (r#"{"2": ["a", "cat"]}"#, "key \"2\": expected an index from 0 to 1, found 2"),
        (
            r#"{"18446744073709551615": ["a"]}"#,
            "key \"18446744073709551615\": expected an index from 0 to 1, found 18446744073709551615",
        ),
        (
            r#"{"1": ["n02123045", "cat"]}"#,
            "key \"1\": expected the number of class 0 (\"cat\") for the name \"cat\", found 1, that of class 1 (\"dog\")",
        ),
        (r#"{"a": -1}"#, "key \"a\": expected a class index, found \"-1\""),
        (r#"{"a": 0.5}"#, "key \"a\": expected a class index, found \"0.5\""),
        (r#"{"a": "horse"}"#, "key \"a\": expected a label of the model or an index from 0 to 1, found \"horse\""),
        (r#"{"a": "cat", "b": 1}"#, &format!("key \"b\": expected {neighbours}, found \"1\"")),
        (r#"{"a": {"b": 1}}"#, &format!("key \"a\": expected {neighbours}, found \"{{\\\"b\\\":1}}\"")),
        (r#"{"a": 0, "a": 1}"#, "key \"a\": expected a folder that has no entry yet, found \"a\""),
        (r#"["a", 1]"#, "element 1: expected a folder or a list of folder and names, found \"1\""),
        (r#"["a", []]"#, "element 1: expected a folder or a list of folder and names, found \"[]\""),
    ] {
        assert_eq!(error(text, &spec), message);
    }
    assert!(error("{\"a\": 0", &spec).contains("EOF while parsing"));
    assert!(error(&"[".repeat(100_000), &spec).contains("recursion limit"));
}

#[test]
fn names_of_several_classes_need_a_number() {
    let spec = spec(&ANIMALS);
    let message = error("n02012849 crane\n", &spec);
    assert!(message.contains("line 1: expected the label of one class, found \"crane\", the label of 2"), "{message}");
    for (text, class) in [(r#"{"2": ["n02012849", "crane"]}"#, 2), ("n02012849\t3\n", 3), (r#"{"n02012849": 3}"#, 3)] {
        assert_eq!(classes_by(text, &spec, &["n02012849"]), [Some(class)]);
    }
    assert_eq!(classes_by(r#"{"2": "crane", "3": "crane"}"#, &spec, &["2", "3"]), [Some(2), Some(3)]);
}

#[test]
fn order_without_labels_has_to_be_that_of_folders() {
    let message = error("n02123045 cat\nn01440764 tench\n", &unlabelled(2));
    assert_eq!(message, "expected ids in sorted order, since the model has no labels, found another order");
    assert_eq!(classes_by("n02123045\nn01440764\n", &unlabelled(2), &["n02123045"]), [Some(0)]);
    assert_eq!(classes_by("", &unlabelled(2), &["1"]), [Some(1)]);
}

#[test]
fn sorted_folders_are_the_classes_in_order() {
    let sorted = |folders: &[&str], spec: &Spec| {
        let classes = Classes::new(spec);
        let map = ClassMap::of_sorted(folders.iter().map(Into::into).collect(), &classes)?;
        Ok::<_, String>(folders.iter().map(|folder| map.get(OsStr::new(folder)).unwrap()).collect::<Vec<_>>())
    };
    // As Python sorts: by code points, not by length or language.
    assert_eq!(sorted(&["b", "a", "é", "B", "10", "9", "\u{1f600}"], &unlabelled(7)), Ok(vec![4, 3, 5, 2, 0, 1, 6]));
    for (folders, hint) in [(&["a"][..], "background"), (&[], "--class-map"), (&["a", "b", "c"], "--class-map")] {
        let message = sorted(folders, &unlabelled(2)).unwrap_err();
        let found = format!("expected 2 sub-folders, one per class (--sorted-folders), found {}; ", folders.len());
        assert!(message.starts_with(&found) && message.contains(hint), "{message}");
    }
    assert_eq!(sorted(&["x", "y"], &spec(&["background", "cat", "dog"])), Ok(vec![1, 2]));
    let message = sorted(&["cat", "dog"], &spec(&["dog", "cat"])).unwrap_err();
    let contradiction =
        "expected the number of class 1 (\"cat\") for the name \"cat\", found 0, that of class 0 (\"dog\")";
    assert_eq!(message, format!("sub-folder \"cat\": {contradiction}"));
}
