//! A Rust source file as the house rules see it: words of code, without comments, strings and tests.

use std::ops::Range;

/// A function and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`, from 1.
    pub line: usize,
    /// How many lines it has, from its `fn` to its closing brace.
    pub line_count: usize,
}

/// Source text with every comment, string and character literal blanked out, so that what is left is code.
/// Lines keep their numbers.
#[derive(Clone, Debug)]
pub struct Source(String);

impl Source {
    /// Reads Rust source text.
    pub fn new(text: &str) -> Source {
        Source(blank(text))
    }

    /// Itself with every item under `#[cfg(test)]` blanked out.
    #[must_use]
    pub fn without_tests(&self) -> Source {
        const GATE: &str = "#[cfg(test)]";
        let mut code = self.0.clone();
        while let Some(start) = code.find(GATE) {
            let end = item_end(&code, start + GATE.len());
            let blanked = blanks(&code[start..end]);
            code.replace_range(start..end, &blanked);
        }
        Source(code)
    }

    /// The code, everything else being spaces.
    pub fn code(&self) -> &str {
        &self.0
    }

    /// The lines that hold code.
    pub fn line_count(&self) -> usize {
        self.0.lines().filter(|line| !line.trim().is_empty()).count()
    }

    /// The lines, from 1, in which a word occurs as a whole word.
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        words(&self.0).filter(|(_, found)| *found == word).map(|(at, _)| line_of(&self.0, at)).collect()
    }

    /// Every function that has a body.
    pub fn functions(&self) -> Vec<Function> {
        let tokens: Vec<_> = words(&self.0).collect();
        let named = tokens.windows(2).filter(|pair| pair[0].1 == "fn" && self.touch(pair[0], pair[1]));
        named.filter_map(|pair| self.function(pair[0].0, pair[1].1)).collect()
    }

    /// Whether only spaces are between two words: `fn name`, not the type `fn(name)`.
    fn touch(&self, first: (usize, &str), second: (usize, &str)) -> bool {
        self.0[first.0 + first.1.len()..second.0].trim().is_empty()
    }

    fn function(&self, start: usize, name: &str) -> Option<Function> {
        let end = item_end(&self.0, start);
        let has_body = self.0[start..end].ends_with('}');
        let line_count = self.0[start..end].lines().count();
        has_body.then(|| Function { name: name.to_owned(), line: line_of(&self.0, start), line_count })
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The words of a text, each with where it starts.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let word = rest[rest.find(is_word)?..].split(|character| !is_word(character)).next()?;
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        rest = &text[at + word.len()..];
        Some((at, word))
    })
}

/// The end of the item that starts at `start`: behind the first `;` or closing brace outside of
/// parentheses and brackets.
fn item_end(code: &str, start: usize) -> usize {
    let (mut depth, mut braces) = (0_usize, 0_usize);
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' => braces += 1,
            b'}' => braces = braces.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && braces == 0 && matches!(byte, b';' | b'}') {
            return at + 1;
        }
    }
    code.len()
}

/// As many spaces as bytes, and the line ends where they were.
fn blanks(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let skipped = not_code(text, at);
        code.push_str(&text[at..skipped.start]);
        code.push_str(&blanks(&text[skipped.clone()]));
        at = skipped.end;
    }
    code
}

/// Where the next comment or literal is; empty at the end of the text if there is none.
fn not_code(text: &str, from: usize) -> Range<usize> {
    let mut word_before = false;
    for (offset, character) in text[from..].char_indices() {
        let start = from + offset;
        let rest = &text[start..];
        let len = match character {
            '/' => comment_len(rest),
            '"' => Some(quoted_len(rest, '"')),
            '\'' => character_len(rest),
            // `r` starts a raw string only where it does not end a word; `br` and `cr` do too.
            'r' if !word_before || text[..start].ends_with(['b', 'c']) => raw_string_len(rest),
            _ => None,
        };
        if let Some(len) = len {
            return start..start + len;
        }
        word_before = is_word(character);
    }
    text.len()..text.len()
}

fn comment_len(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while rest[at..].starts_with("/*") || depth > 0 {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            let Some(character) = rest[at..].chars().next() else { break };
            at += character.len_utf8();
        }
        if depth == 0 {
            break;
        }
    }
    (at > 0).then_some(at)
}

/// The length of a literal between two quotes in which a backslash escapes.
fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        if character == quote && !escaped {
            return at + 1;
        }
        escaped = character == '\\' && !escaped;
    }
    rest.len()
}

/// A character literal is a quote, one character or an escape, and a quote; a lifetime is not.
fn character_len(rest: &str) -> Option<usize> {
    let mut characters = rest.chars().skip(1);
    let first = characters.next()?;
    (first == '\\' || characters.next() == Some('\'')).then(|| quoted_len(rest, '\''))
}

fn raw_string_len(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|&byte| byte == b'#').count();
    let opened = 1 + hashes + 1;
    (rest.as_bytes().get(1 + hashes) == Some(&b'"')).then(|| {
        let close = format!("\"{}", "#".repeat(hashes));
        rest[opened..].find(&close).map_or(rest.len(), |at| opened + at + close.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new(text).code().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_go() {
        assert_eq!(code("a // b\nc /* d /* e */ f */ g / h"), "a c g / h");
        assert_eq!(code("a /* never closed"), "a");
    }

    #[test]
    fn literals_go_and_lifetimes_stay() {
        assert_eq!(code(r#"a "b \" c" d"#), "a d");
        assert_eq!(code(r##"a r#"b " c"# d br"e" f"##), "a d b f");
        assert_eq!(code(r"a '{' '\'' b'\\' &'x y '_"), "a b &'x y '_");
        assert_eq!(code("for\"x\""), "for");
    }

    #[test]
    fn lines_keep_their_numbers() {
        let source = Source::new("/*\n\n*/ \"\n\" unsafe\nunsafely; // unsafe\nunsafe {}");
        assert_eq!(source.lines_with("unsafe"), [4, 6]);
    }

    #[test]
    fn functions_are_measured() {
        let source =
            Source::new("fn a(x: [u8; 2]) {\n  let f: fn(u8) = g;\n  {}\n}\ntrait T { fn b();\n fn c() {} }");
        let found: Vec<_> = source.functions().into_iter().map(|f| (f.name, f.line, f.line_count)).collect();
        assert_eq!(found, [("a".to_owned(), 1, 4), ("c".to_owned(), 6, 1)]);
    }

    #[test]
    fn tests_are_not_counted() {
        let source = Source::new(
            "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n#[cfg(test)]\nuse x;\nfn c() {}\n",
        );
        let source = source.without_tests();
        let names: Vec<_> = source.functions().into_iter().map(|function| function.name).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(source.line_count(), 2);
    }
}
