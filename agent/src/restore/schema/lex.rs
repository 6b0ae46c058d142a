//! CQL as words, names, strings and signs.

/// What a piece of CQL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// White space.
    Blank,
    /// `--`, `//` and `/* */`.
    Comment,
    /// A keyword, a name, a number or a UUID.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A string, in quotes or in `$$`.
    Text,
    /// Any other character.
    Sign,
}

/// A piece that means something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub class: Class,
    pub text: &'a str,
    /// Where it begins.
    pub start: usize,
}

impl Token<'_> {
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this keyword or sign.
    pub fn is(&self, what: &str) -> bool {
        matches!(self.class, Class::Word | Class::Sign) && self.text.eq_ignore_ascii_case(what)
    }

    /// Without quotes, and in the case that Cassandra takes it in.
    pub fn value(&self) -> String {
        let inside = |from: usize| self.text.get(from..self.text.len() - from);
        match self.class {
            Class::Quoted => inside(1).unwrap_or_default().replace("\"\"", "\""),
            Class::Text if self.text.starts_with('$') => inside(2).unwrap_or_default().into(),
            Class::Text => inside(1).unwrap_or_default().replace("''", "'"),
            _ => self.text.to_lowercase(),
        }
    }
}

/// The class and the length of the first piece. What is opened and not closed reaches to the end.
pub(super) fn first(rest: &str) -> Option<(Class, usize)> {
    let first = rest.chars().next()?;
    let until = |from: usize, end: &str| {
        rest[from..]
            .find(end)
            .map_or(rest.len(), |at| from + at + end.len())
    };
    let found = if rest.starts_with("--") || rest.starts_with("//") {
        let end = rest.find(['\n', '\r']);
        (Class::Comment, end.map_or(rest.len(), |at| at + 1))
    } else if rest.starts_with("/*") {
        (Class::Comment, until(2, "*/"))
    } else if rest.starts_with("$$") {
        (Class::Text, until(2, "$$"))
    } else if first == '\'' || first == '"' {
        let mut end = until(1, &rest[..1]);
        // A doubled quote is one of the content.
        while rest[end..].starts_with(first) {
            end = until(end + 1, &rest[..1]);
        }
        let class = if first == '"' {
            Class::Quoted
        } else {
            Class::Text
        };
        (class, end)
    } else if first.is_whitespace() {
        (
            Class::Blank,
            rest.find(|c: char| !c.is_whitespace())
                .unwrap_or(rest.len()),
        )
    } else if is_word(first) {
        (Class::Word, word(rest))
    } else {
        (Class::Sign, first.len_utf8())
    };
    Some(found)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A hyphen inside belongs to it, as in a UUID.
fn word(rest: &str) -> usize {
    let mut characters = rest.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let goes_on = c == '-' && characters.peek().is_some_and(|(_, next)| is_word(*next));
        if !is_word(c) && !goes_on {
            return at;
        }
    }
    rest.len()
}

/// All pieces that mean something.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some((class, length)) = first(&text[start..]) {
        if !matches!(class, Class::Blank | Class::Comment) {
            found.push(Token {
                class,
                text: &text[start..start + length],
                start,
            });
        }
        start += length;
    }
    found
}

/// Reads tokens from the left.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    pub tokens: Vec<Token<'a>>,
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            tokens: tokens(text),
            at: 0,
        }
    }

    pub fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    pub fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek();
        self.at += 1;
        token
    }

    pub fn sees(&self, words: &[&str]) -> bool {
        let ahead = self.tokens.get(self.at..).unwrap_or_default();
        ahead.len() >= words.len() && words.iter().zip(ahead).all(|(word, token)| token.is(word))
    }

    /// Passes these words if they come next.
    pub fn eat(&mut self, words: &[&str]) -> bool {
        let seen = self.sees(words);
        if seen {
            self.at += words.len();
        }
        seen
    }

    pub fn expect(&mut self, word: &str) -> Option<()> {
        self.eat(&[word]).then_some(())
    }

    pub fn name(&mut self) -> Option<String> {
        let token = self.next()?;
        matches!(token.class, Class::Word | Class::Quoted).then(|| token.value())
    }

    /// `keyspace.name`.
    pub fn qualified(&mut self) -> Option<(String, String)> {
        let keyspace = self.name()?;
        self.expect(".")?;
        Some((keyspace, self.name()?))
    }

    /// A type, with one space after commas. Not recursive: the depth is another's choice.
    pub fn type_text(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut depth = 0_usize;
        loop {
            let token = self.next()?;
            match token.text {
                "<" => depth += 1,
                ">" => depth = depth.checked_sub(1)?,
                "," if depth == 0 => return None,
                "," | "." => {}
                _ if token.class == Class::Sign => return None,
                _ => {}
            }
            match token.class {
                Class::Word => text.push_str(&token.text.to_lowercase()),
                _ => text.push_str(token.text),
            }
            if token.is(",") {
                text.push(' ');
            }
            if depth == 0 && !token.is(".") && !self.sees(&["<"]) && !self.sees(&["."]) {
                return Some(text);
            }
        }
    }

    /// Goes on to the next of `ends` that stands in no brackets opened from here on.
    pub fn skip_to(&mut self, ends: &[&str]) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            if depth == 0 && ends.iter().any(|end| token.is(end)) {
                return;
            }
            match token.text {
                "(" | "{" | "[" => depth += 1,
                ")" | "}" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
    }
}

/// The same for what means the same: without white space, quotes, `IF NOT EXISTS`, and `frozen`
/// where it changes nothing: inside of another type, and around tuples, which 4.x writes and 5.0
/// does not. In functions it never changes anything.
pub(super) fn canonical(text: &str, of_function: bool) -> String {
    let mut cursor = Cursor::new(text);
    let (mut found, mut last) = (String::new(), Class::Sign);
    // For every open bracket, whether it was kept.
    let mut open = Vec::new();
    loop {
        cursor.eat(&["IF", "NOT", "EXISTS"]);
        let needless = of_function
            || !open.is_empty()
            || cursor.sees(&["frozen", "<", "tuple"])
            || cursor.sees(&["frozen", "<", "vector"]);
        if needless && cursor.eat(&["frozen", "<"]) {
            open.push(false);
            continue;
        }
        let Some(token) = cursor.next() else { break };
        if token.is("<") {
            open.push(true);
        }
        if token.is(">") && open.pop() == Some(false) {
            continue;
        }
        if last != Class::Sign && token.class != Class::Sign {
            found.push(' ');
        }
        found.push_str(&token.value());
        last = token.class;
    }
    found
}

/// A name in double quotes, which is right for every name.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `keyspace.table`, quoted.
pub(super) fn quoted_pair(keyspace: &str, name: &str) -> String {
    format!("{}.{}", quoted(keyspace), quoted(name))
}
