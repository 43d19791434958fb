//! One page of a tag list, read piece by piece as it comes: nothing of it is held but its tags.
//!
//! A page is an object with `tags`, an array of texts or null, and whatever else a registry adds. It is JSON to the
//! last byte (RFC 8259), or it is no page.

use crate::domain::tags::Collector;

const MAX_TAGS: usize = 1_000_000;
/// Objects and arrays within one another.
const MAX_DEPTH: usize = 128;
/// Of a text that may be a tag or `tags`, the bytes that are kept; a longer one is neither.
const MAX_TEXT: usize = 1024;

/// Reads a page.
pub(super) struct Page<'c> {
    tags: &'c mut Collector,
    /// What the tags of all pages may weigh.
    room: usize,
    /// Entries, tags or not, and those that are none.
    count: usize,
    dropped: u64,
    /// What is open: `{` and `[`.
    open: Vec<u8>,
    state: State,
    /// The text that is being read, as it is written, where it matters.
    text: Vec<u8>,
    text_is: Text,
    /// Where `tags` was met: at its value, or before.
    found: bool,
    at_tags: bool,
}

/// Why it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    NoList,
    TooMany,
    NoRoom,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum State {
    Value,
    /// After `[` and `{`.
    FirstValue,
    FirstKey,
    Key,
    Colon,
    AfterValue,
    Text,
    Escape,
    Hex(u8),
    /// What is left of `true`, `false` or `null`.
    Word(&'static [u8]),
    Number(Number),
}

/// What was read of a number.
#[derive(Debug, Clone, Copy)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// What the text that is being read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// A key of the outermost object.
    Name,
    Key,
    Tag,
    Other,
}

impl<'c> Page<'c> {
    /// Tags are added to `tags`.
    pub(super) fn new(tags: &'c mut Collector, room: usize) -> Self {
        Self {
            tags,
            room,
            count: 0,
            dropped: 0,
            open: Vec::new(),
            state: State::Value,
            text: Vec::new(),
            text_is: Text::Other,
            found: false,
            at_tags: false,
        }
    }

    /// Reads on.
    pub(super) fn feed(&mut self, mut piece: &[u8]) -> Result<(), Fault> {
        while let [byte, rest @ ..] = piece {
            if matches!(self.state, State::Text) {
                let end = piece.iter().position(|&b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(piece.len());
                self.keep(&piece[..end]);
                let Some(byte) = piece.get(end) else { return Ok(()) };
                piece = &piece[end + 1..];
                match byte {
                    b'"' => self.text_ends()?,
                    b'\\' => {
                        self.keep(b"\\");
                        self.state = State::Escape;
                    }
                    _ => return Err(Fault::NoList),
                }
            } else {
                self.byte(*byte)?;
                piece = rest;
            }
        }
        Ok(())
    }

    /// The page has ended: how many entries there were, and how many of them are no tags.
    pub(super) fn end(self) -> Result<(usize, u64), Fault> {
        let whole = self.open.is_empty() && matches!(self.state, State::AfterValue) && self.found;
        if whole { Ok((self.count, self.dropped)) } else { Err(Fault::NoList) }
    }

    /// A byte that is in no text.
    fn byte(&mut self, byte: u8) -> Result<(), Fault> {
        let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.state = match (self.state, byte) {
            (State::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.keep(&[byte]);
                State::Text
            }
            (State::Escape, b'u') => {
                self.keep(b"u");
                State::Hex(4)
            }
            (State::Hex(left), _) if byte.is_ascii_hexdigit() => {
                self.keep(&[byte]);
                if left == 1 { State::Text } else { State::Hex(left - 1) }
            }
            (State::Word([next, rest @ ..]), _) if byte == *next => {
                if rest.is_empty() {
                    State::AfterValue
                } else {
                    State::Word(rest)
                }
            }
            (State::Number(number), _) => match number.next(byte) {
                Some(number) => State::Number(number),
                None if number.may_end() => {
                    self.state = State::AfterValue;
                    return self.byte(byte);
                }
                None => return Err(Fault::NoList),
            },
            (state @ (State::Value | State::FirstValue | State::FirstKey | State::Key), _) if is_space => state,
            (state @ (State::Colon | State::AfterValue), _) if is_space => state,
            (State::FirstValue, b']') | (State::FirstKey, b'}') => return self.close(byte),
            (State::Value | State::FirstValue, _) => self.value(byte)?,
            (State::FirstKey | State::Key, b'"') => {
                let is = if self.open.len() == 1 { Text::Name } else { Text::Key };
                self.text_begins(is)
            }
            (State::Colon, b':') => State::Value,
            (State::AfterValue, b',') => match self.open.last() {
                Some(b'{') => State::Key,
                Some(_) => State::Value,
                None => return Err(Fault::NoList),
            },
            (State::AfterValue, b']' | b'}') => return self.close(byte),
            _ => return Err(Fault::NoList),
        };
        Ok(())
    }

    /// A value begins.
    fn value(&mut self, byte: u8) -> Result<State, Fault> {
        let fits = match (self.open.len(), self.at_tags) {
            (0, _) => byte == b'{',
            (1, true) => matches!(byte, b'[' | b'n'),
            (_, true) => byte == b'"',
            _ => true,
        };
        if !fits {
            return Err(Fault::NoList);
        }
        Ok(match byte {
            b'{' | b'[' if self.open.len() == MAX_DEPTH => return Err(Fault::NoList),
            b'{' | b'[' => {
                self.open.push(byte);
                if byte == b'{' { State::FirstKey } else { State::FirstValue }
            }
            b'"' => self.text_begins(if self.at_tags { Text::Tag } else { Text::Other }),
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Digits),
            _ => return Err(Fault::NoList),
        })
    }

    fn close(&mut self, byte: u8) -> Result<(), Fault> {
        let opening = if byte == b']' { b'[' } else { b'{' };
        if self.open.pop() != Some(opening) {
            return Err(Fault::NoList);
        }
        self.state = State::AfterValue;
        Ok(())
    }

    fn text_begins(&mut self, is: Text) -> State {
        self.text.clear();
        self.text_is = is;
        State::Text
    }

    fn keep(&mut self, bytes: &[u8]) {
        if matches!(self.text_is, Text::Name | Text::Tag) && self.text.len() <= MAX_TEXT {
            self.text.extend_from_slice(&bytes[..bytes.len().min(MAX_TEXT + 1)]);
        }
    }

    fn text_ends(&mut self) -> Result<(), Fault> {
        let mut written = Vec::new();
        let text = match (self.text_is, self.text.contains(&b'\\')) {
            (Text::Key | Text::Other, _) => "",
            _ if self.text.len() > MAX_TEXT => "",
            (_, false) => std::str::from_utf8(&self.text).map_err(|_| Fault::NoList)?,
            (_, true) => {
                written.extend([b"\"", &*self.text, b"\""].concat());
                &*serde_json::from_slice::<String>(&written).map_err(|_| Fault::NoList)?
            }
        };
        self.state = match self.text_is {
            Text::Name => {
                self.at_tags = text == "tags";
                if self.at_tags && std::mem::replace(&mut self.found, true) {
                    return Err(Fault::NoList);
                }
                State::Colon
            }
            Text::Key => State::Colon,
            Text::Tag => {
                self.count += 1;
                self.dropped += u64::from(!self.tags.push(text));
                if self.tags.len() > MAX_TAGS {
                    return Err(Fault::TooMany);
                }
                if self.tags.weight() > self.room {
                    return Err(Fault::NoRoom);
                }
                State::AfterValue
            }
            Text::Other => State::AfterValue,
        };
        Ok(())
    }
}

impl Number {
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Digits, b'0'..=b'9') => Self::Digits,
            (Self::Zero | Self::Digits, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::Exponent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::domain::image::Tag;

    /// The tags, the entries and those of them that are none, of a page that comes in pieces of this size.
    fn read(body: &[u8], piece: usize) -> Result<(Vec<String>, usize, u64), Fault> {
        let mut tags = Collector::default();
        let mut page = Page::new(&mut tags, usize::MAX);
        for piece in body.chunks(piece) {
            page.feed(piece)?;
        }
        let (count, dropped) = page.end()?;
        Ok((tags.finish().iter().map(str::to_owned).collect(), count, dropped))
    }

    /// The same as a parser of whole bodies has it.
    fn plainly(body: &[u8]) -> Option<Vec<String>> {
        /// Refuses two fields of that name, but takes none for null, and an array for an object.
        #[derive(serde::Deserialize)]
        struct Plain {
            tags: Option<Vec<String>>,
        }
        let Ok(Value::Object(page)) = serde_json::from_slice(body) else { return None };
        page.get("tags")?;
        let mut tags = serde_json::from_slice::<Plain>(body).ok()?.tags.unwrap_or_default();
        tags.retain(|tag| Tag::parse(tag).is_ok());
        tags.sort();
        tags.dedup();
        Some(tags)
    }

    #[rstest::rstest]
    #[case(r#"{"tags":["a","b"]}"#, Some(2))]
    #[case(
        r#" { "name" : {"tags":[1,{}]} , "\u0074ags" : [ "a" , "\u0062" ] , "x":[-0.5e+3,true,"\"",null] } "#,
        Some(2)
    )]
    #[case(r#"{"tags":null}"#, Some(0))]
    #[case(r#"{"tags":[]}"#, Some(0))]
    #[case(r#"{"tags":["a",]}"#, None)]
    #[case(r#"{"tags":["a"],}"#, None)]
    #[case(r#"{"tags":["a"]}x"#, None)]
    #[case(r#"{"tags":["a"}"#, None)]
    #[case(r#"{"tags":[["a"]]}"#, None)]
    #[case(r#"{"tags":nul}"#, None)]
    #[case(r#"{"tags":[],"tags":[]}"#, None)]
    #[case(r#"{"tags":[],"x":01}"#, None)]
    #[case(r#"{"tags":[],"x":1.}"#, None)]
    #[case(r#"{"tags":["\x"]}"#, None)]
    #[case(r#"{"tags":["\ud800"]}"#, None)]
    #[case("{\"tags\":[\"a\n\"]}", None)]
    #[case(r#"[]"#, None)]
    #[case("", None)]
    fn a_page_is_read_whole_or_not_at_all(#[case] body: &str, #[case] tags: Option<usize>) {
        for piece in [1, 3, 1000] {
            assert_eq!(read(body.as_bytes(), piece).ok().map(|(tags, ..)| tags.len()), tags);
        }
    }

    #[test]
    fn depth_is_bounded_and_a_long_text_is_no_tag() {
        let deep = |depth: usize| format!(r#"{{"x":{}{},"tags":[]}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(read(deep(127).as_bytes(), 7).is_ok());
        assert_eq!(read(deep(128).as_bytes(), 7).unwrap_err(), Fault::NoList);
        let long = format!(r#"{{"{0}":"{0}","tags":["{0}","a"]}}"#, "x".repeat(100_000));
        assert_eq!(read(long.as_bytes(), 999).unwrap(), (vec!["a".to_owned()], 2, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn whatever_comes_is_read_as_a_parser_of_whole_bodies_reads_it(
            // No number is too large for the parser: it would refuse what is passed over here.
            inside in r#"([\[\]{}:,"]|"tags"|"tags":|"a"|"x":|null|true|fals|1|-|0|\.5|e3 |é|\\u00|\\u0061| ){0,12}"#,
            framed: bool,
            piece in 1_usize..9,
        ) {
            let body = if framed { format!(r#"{{"tags":["a"],"x":{inside}}}"#) } else { inside };
            prop_assert_eq!(read(body.as_bytes(), piece).ok().map(|(tags, ..)| tags), plainly(body.as_bytes()), "{}", body);
        }

        #[test]
        fn every_tag_is_kept_and_nothing_else(texts: Vec<String>, piece in 1_usize..20) {
            let body = serde_json::json!({"tags": texts}).to_string();
            let (tags, count, dropped) = read(body.as_bytes(), piece).unwrap();
            let valid: Vec<&String> = texts.iter().filter(|text| Tag::parse(text).is_ok()).collect();
            prop_assert_eq!(count, texts.len());
            prop_assert_eq!(dropped as usize, texts.len() - valid.len());
            prop_assert_eq!(tags, plainly(body.as_bytes()).unwrap());
        }
    }
}
