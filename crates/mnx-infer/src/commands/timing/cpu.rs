//! The name of the machine's CPU.

/// The model's name, or where the system does not tell, the architecture's.
pub(crate) fn name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model_name(&info).unwrap_or_else(|| format!("unknown {}", std::env::consts::ARCH))
}

fn model_name(info: &str) -> Option<String> {
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1.split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::model_name;

    #[test]
    fn the_first_model_name_counts() {
        let info = "processor\t: 0\nmodel name\t: AMD  EPYC 7B13 \nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(model_name(info).as_deref(), Some("AMD EPYC 7B13"));
        assert_eq!(model_name("processor : 0\nmodel name :\n"), None);
    }
}
