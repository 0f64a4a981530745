//! Just enough of a reader of Rust: tokens without comments and literals, the
//! paths among them, and which of them only tests see.

use std::collections::BTreeSet;

/// A path as the compiler would see it, with `use` groups taken apart and
/// `crate`, `self` and `super` resolved to `crate::…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// Inside an item under `#[cfg(test)]`.
    pub(crate) test: bool,
}

#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
    test: bool,
}

/// One file's tokens.
#[derive(Debug)]
pub(crate) struct Source {
    tokens: Vec<Token>,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Source {
        let mut tokens = tokenize(text);
        let mut at = 0;
        while at < tokens.len() {
            let end = item_under_cfg_test(&tokens, at);
            tokens[at..end].iter_mut().for_each(|t| t.test = true);
            at = end.max(at + 1);
        }
        Source { tokens }
    }

    /// Lines on which a word stands as a token of its own.
    pub(crate) fn lines_with(&self, word: &str) -> Vec<usize> {
        self.tokens.iter().filter(|t| t.text == word).map(|t| t.line).collect()
    }

    /// Modules in files of their own that only tests see.
    pub(crate) fn test_modules(&self) -> BTreeSet<String> {
        let of = |w: &[Token]| w[0].test && w[0].text == "mod" && w[2].text == ";";
        self.tokens.windows(3).filter(|w| of(w)).map(|w| w[1].text.clone()).collect()
    }

    /// Every path in the file, which is the module `module` of the crate.
    pub(crate) fn paths(&self, module: &[String]) -> Vec<Path> {
        let mut found = Vec::new();
        let mut inside = module.to_vec();
        let mut braces: Vec<bool> = Vec::new(); // whether each open brace is a module's
        for at in 0..self.tokens.len() {
            match self.text(at) {
                "{" => {
                    let module = at >= 2 && self.text(at - 2) == "mod";
                    if module {
                        inside.push(self.text(at - 1).to_owned());
                    }
                    braces.push(module);
                }
                "}" if braces.pop() == Some(true) => {
                    inside.pop();
                }
                _ if self.starts_path(at) => self.follow(at, None, &inside, &mut found),
                _ => {}
            }
        }
        found
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |t| &t.text)
    }

    fn starts_path(&self, at: usize) -> bool {
        let after_path = at >= 2 && self.text(at - 1) == "::" && is_word(self.text(at - 2));
        is_word(self.text(at)) && !after_path
    }

    /// Follows the path on from `at`, after `prefix`, into every branch.
    fn follow(
        &self,
        mut at: usize,
        prefix: Option<&[String]>,
        inside: &[String],
        found: &mut Vec<Path>,
    ) {
        let mut segments = prefix.map(<[String]>::to_vec);
        loop {
            let word = self.text(at);
            if word == "{" {
                return self.branches(at, &segments.unwrap_or_default(), inside, found);
            }
            segments = Some(step(segments, word, inside));
            let next = self.text(at + 2);
            if self.text(at + 1) != "::" || !(is_word(next) || ["*", "{"].contains(&next)) {
                break;
            }
            at += 2;
        }
        let Token { line, test, .. } = self.tokens[at];
        found.push(Path { segments: segments.unwrap_or_default(), line, test });
    }

    /// Follows each element of the group that opens at `open`.
    fn branches(&self, open: usize, prefix: &[String], inside: &[String], found: &mut Vec<Path>) {
        let mut depth = 0;
        for at in open..self.tokens.len() {
            match self.text(at) {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
            let first = depth == 1 && ["{", ","].contains(&self.text(at));
            if first && !["}", ""].contains(&self.text(at + 1)) {
                self.follow(at + 1, Some(prefix), inside, found);
            }
        }
    }
}

/// The path `path` (none yet: a path begins here) with one more word.
fn step(path: Option<Vec<String>>, word: &str, inside: &[String]) -> Vec<String> {
    let here = || [&["crate".to_owned()], inside].concat();
    match (word, path) {
        ("crate", _) => vec!["crate".into()],
        ("self", path) => path.unwrap_or_else(here),
        ("super", path) => {
            let mut path = path.unwrap_or_else(here);
            path.pop();
            path
        }
        (word, path) => [path.unwrap_or_default(), vec![word.into()]].concat(),
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Where the item under a `#[cfg(test)]` at `at` ends; `at` if there is none.
fn item_under_cfg_test(tokens: &[Token], at: usize) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    if (text(at), text(at + 1), text(at + 2)) != ("#", "[", "cfg") {
        return at;
    }
    let close = closing(tokens, at + 1);
    let words: Vec<&str> = (at..close).map(text).collect();
    if !words.contains(&"test") || words.contains(&"not") {
        return at;
    }
    let mut i = close + 1;
    while i < tokens.len() {
        match text(i) {
            ";" => return i + 1,
            "{" => return closing(tokens, i) + 1,
            "(" | "[" => i = closing(tokens, i),
            "}" => return i, // a field or variant, the last of its kind
            _ => {}
        }
        i += 1;
    }
    tokens.len()
}

/// The bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len().saturating_sub(1)
}

fn tokenize(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let length = if rest.starts_with("::") {
                2
            } else if word(first) {
                rest.find(|c| !word(c)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            tokens.push(Token { text: rest[..length].into(), line, test: false });
            length
        });
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of the white space, comment, literal or lifetime that `text`
/// begins with, if it does.
fn skipped(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    if first.is_whitespace() {
        return Some(first.len_utf8());
    }
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    let quoted = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - quoted.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = quoted.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let body = raw[hashes..].strip_prefix('"')?;
        let length = body.find(&end).map_or(body.len(), |i| i + end.len());
        return Some(prefix + 1 + hashes + 1 + length);
    }
    if quoted.starts_with('"') {
        return Some(prefix + escaped(quoted, '"'));
    }
    if let Some(after) = quoted.strip_prefix('\'') {
        let lifetime =
            prefix == 0 && !after.starts_with('\\') && after.chars().nth(1) != Some('\'');
        return Some(if lifetime { 1 } else { prefix + escaped(quoted, '\'') });
    }
    None
}

/// The length of a literal between two `quote`s.
fn escaped(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return i + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The length of a `/* … */`, which may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}
