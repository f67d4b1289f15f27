//! What the safetensors reader leaves unchecked: keys that appear twice. Its map keeps only the last of them.

/// The first key that appears twice at the outermost level of the object in `json`, which is valid JSON.
pub(crate) fn duplicate_key(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let mut seen = std::collections::HashSet::new();
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let end = string_end(bytes, at);
                // `:` follows keys only.
                let is_key = bytes.get(end..)?.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':');
                if depth == 1 && is_key {
                    // Escapes are resolved: "a" and "\u0061" are the same key.
                    let key: String = serde_json::from_str(json.get(at..end)?).ok()?;
                    if !seen.insert(key.clone()) {
                        return Some(key);
                    }
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that opens at `start` is over.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::duplicate_key;

    #[test]
    fn finds_keys_at_the_outermost_level() {
        assert_eq!(duplicate_key(r#"{"a": {"x": 1, "y": "a"}, "b": {"x": ["a", "b"]}}"#), None);
        assert_eq!(duplicate_key(r#"{"a": {}, "b": {}, "\u0061" : 3}"#), Some("a".into()));
        assert_eq!(duplicate_key(r#"{"a\"": {}, "a": {}, "a\"": {}}"#), Some("a\"".into()));
        assert_eq!(duplicate_key(r#"{"a\"#), None);
        assert_eq!(duplicate_key(""), None);
    }
}
