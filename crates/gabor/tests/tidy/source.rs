//! Reading the tree, and a Rust text without its comments, strings and tests.

use std::fs;
use std::path::Path;

/// One text file of the repository.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with forward slashes.
    pub path: String,
    pub text: String,
}

/// Every text file of the repository: hidden folders, build results and downloaded data are left out.
pub(crate) fn tree() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    walk(&root, "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("a file type");
        if kind.is_dir() {
            let skipped = prefix.is_empty() && ["target", "data", ".git"].contains(&name.as_str());
            if !skipped {
                walk(&entry.path(), &format!("{path}/"), files);
            }
        } else if kind.is_file()
            && name != ".git"
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            files.push(File { path, text });
        }
    }
}

/// The text with comments and the contents of strings and characters replaced by spaces; lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match (chars[i], chars.get(i + 1).copied().unwrap_or(' ')) {
            ('/', '/') => until(&chars, i, |rest| rest[0] == '\n'),
            ('/', '*') => block_comment(&chars, i),
            ('"', _) => string(&chars, i + 1),
            ('r', '"' | '#') if raw_string(&chars, i).is_some() && !is_word(&chars, i) => {
                raw_string(&chars, i).unwrap_or(i + 1)
            }
            ('\'', '\\') => until(&chars, i + 3, |rest| rest[0] == '\'') + 1,
            ('\'', _) if chars.get(i + 2) == Some(&'\'') => i + 3,
            (c, _) => {
                out.push(c);
                i += 1;
                continue;
            }
        };
        let end = end.min(chars.len());
        out.extend(chars[i..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        i = end;
    }
    out
}

fn is_word(chars: &[char], i: usize) -> bool {
    i > 0 && (chars[i - 1].is_alphanumeric() || chars[i - 1] == '_')
}

fn until(chars: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|&i| stop(&chars[i..])).unwrap_or(chars.len())
}

fn block_comment(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut i = from;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn string(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn raw_string(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars[from + 1..].iter().take_while(|&&c| c == '#').count();
    let open = from + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closed =
        |rest: &[char]| rest[0] == '"' && rest.iter().skip(1).take(hashes).filter(|&&c| c == '#').count() == hashes;
    Some(until(chars, open + 1, closed) + 1 + hashes)
}

/// [`code`] without the items behind `#[cfg(test)]` and `#[cfg(any(test, ..))]`.
pub(crate) fn shipped(text: &str) -> String {
    let mut code = code(text);
    while let Some(start) = ["#[cfg(test)]", "#[cfg(any(test"].iter().filter_map(|mark| code.find(mark)).min() {
        let attribute = start + code[start..].find(")]").map_or(1, |n| n + 2);
        let end = item_end(&code, attribute);
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// Where the item ends that starts at `from`: behind its `;`, or behind the brace that closes it.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0i32;
    for (at, c) in code[from..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' => depth -= 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return from + at + 1;
                }
            }
            ';' if depth == 0 => return from + at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The text between the braces of `fn name`.
pub(crate) fn body(text: &str, name: &str) -> Option<String> {
    let code = code(text);
    let start = code.find(&format!("fn {name}("))?;
    let open = start + code[start..].find('{')?;
    Some(code[open + 1..item_end(&code, start) - 1].to_string())
}

/// The identifiers of a text that [`code`] made.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[test]
fn comments_strings_and_tests_are_left_out() {
    let text = "let a = \"unsafe\"; // unsafe\nlet b = r#\"un\"safe\"#; /* a /* b */ unsafe */ let c = '\"'; let d: &'a u8 = e;";
    let left = code(text);
    assert!(!left.contains("unsafe") && !left.contains("safe\""), "{left}");
    assert!(left.contains("let c") && left.contains("&'a u8 = e;"), "{left}");
    assert_eq!(left.lines().count(), 2);
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { c.unwrap() }\n}\nfn d() {}";
    let left = shipped(text);
    assert!(left.contains("fn a()") && left.contains("fn d()") && !left.contains("unwrap"), "{left}");
    assert_eq!(body("fn f() -> u8 {\n    1\n}", "f").as_deref().map(str::trim), Some("1"));
}
