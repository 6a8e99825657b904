//! Mutations that know a little grammar: tokens, lines and indentation are cut, doubled, swapped and mixed with those of
//! other inputs and with words of the language.
//!
//! Byte flips alone end at the first syntax error. These get past parsers and meet what validates and evaluates.

use std::ops::Range;

use fastrand::Rng;

/// The longest input that mutations make, in bytes.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// Numbers at the edge of something.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "31",
    "32",
    "59",
    "60",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551616",
    "0.1",
    "1e309",
    "007",
];
const PAIRS: &[(&str, &str)] = &[
    ("[", "]"),
    ("{", "}"),
    ("(", ")"),
    ("{a: ", "}"),
    ("- ", ""),
    ("\"", "\""),
    ("'", "'"),
    ("{{ ", " }}"),
    ("|", "|"),
    ("-", ""),
];

/// What inputs are mixed with.
#[derive(Debug)]
pub struct Mixer {
    /// Inputs to begin with and to take pieces from.
    seeds: Vec<String>,
    words: Vec<&'static str>,
}

impl Mixer {
    /// Takes what there is to mix; at least one seed and one word.
    pub fn new(seeds: &[Vec<u8>], words: Vec<&'static str>) -> Self {
        let seeds: Vec<_> = seeds.iter().map(|seed| String::from_utf8_lossy(seed).into_owned()).collect();
        assert!(!seeds.is_empty() && !words.is_empty(), "there is nothing to mutate");
        Self { seeds, words }
    }

    /// The input of a number: the same for ever, as long as the seeds and words are.
    pub fn input(&self, number: u64) -> Vec<u8> {
        let mut rng = Rng::with_seed(number);
        let mut text = self.seed(&mut rng).to_owned();
        for _ in 0..=rng.u8(0..4) {
            text = self.step(text, &mut rng);
        }
        text.into_bytes()
    }

    /// One mutation of a text.
    pub fn step(&self, mut text: String, rng: &mut Rng) -> String {
        match rng.u8(0..14) {
            0 => cut(&mut text, rng),
            1 => double(&mut text, rng),
            2 => swap(&mut text, rng),
            3 | 4 => {
                let word = self.word(rng);
                replace(&mut text, rng, word);
            }
            5 | 6 => {
                let at = boundary(&text, rng);
                text.insert_str(at, self.word(rng));
            }
            7 => {
                let other = self.seed(rng);
                let piece = piece(other, rng);
                replace(&mut text, rng, &other[piece]);
            }
            8 => self.splice(&mut text, rng),
            9 => indent(&mut text, rng),
            10 => number(&mut text, rng),
            11 => wrap(&mut text, rng),
            12 => repeat_line(&mut text, rng),
            _ => garble(&mut text, rng),
        }
        text.truncate(text.floor_char_boundary(INPUT_BYTES_MAX));
        text
    }

    fn seed(&self, rng: &mut Rng) -> &str {
        &self.seeds[rng.usize(..self.seeds.len())]
    }

    fn word(&self, rng: &mut Rng) -> &'static str {
        self.words[rng.usize(..self.words.len())]
    }

    /// Puts some lines of another input between two lines.
    fn splice(&self, text: &mut String, rng: &mut Rng) {
        let other: Vec<&str> = self.seed(rng).split_inclusive('\n').collect();
        if other.is_empty() {
            return;
        }
        let from = rng.usize(..other.len());
        let to = (from + rng.usize(1..12)).min(other.len());
        let shift = " ".repeat(if rng.bool() { 0 } else { rng.usize(..6) });
        let taken: String = other[from..to].iter().flat_map(|line| [shift.as_str(), line]).collect();
        let starts: Vec<usize> =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        text.insert_str(starts[rng.usize(..starts.len())], &taken);
    }
}

/// Words, numbers, runs of blanks, single other characters.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let class = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => 1,
        ' ' | '\t' => 2,
        _ => 0,
    };
    let mut tokens: Vec<Range<usize>> = Vec::new();
    let mut before = 0;
    for (at, c) in text.char_indices() {
        let now = class(c);
        match tokens.last_mut() {
            Some(last) if now != 0 && now == before => last.end = at + c.len_utf8(),
            _ => tokens.push(at..at + c.len_utf8()),
        }
        before = now;
    }
    tokens
}

/// A few tokens that stand together.
fn piece(text: &str, rng: &mut Rng) -> Range<usize> {
    let tokens = tokens(text);
    if tokens.is_empty() {
        return 0..0;
    }
    let first = rng.usize(..tokens.len());
    let last = (first + rng.usize(..6)).min(tokens.len() - 1);
    tokens[first].start..tokens[last].end
}

fn boundary(text: &str, rng: &mut Rng) -> usize {
    if rng.u8(..8) == 0 { text.len() } else { piece(text, rng).start }
}

fn cut(text: &mut String, rng: &mut Rng) {
    let piece = if rng.u8(..6) == 0 { boundary(text, rng)..text.len() } else { piece(text, rng) };
    text.replace_range(piece, "");
}

fn double(text: &mut String, rng: &mut Rng) {
    let piece = piece(text, rng);
    let times = if rng.u8(..8) == 0 { rng.usize(1..400) } else { rng.usize(1..4) };
    let again = text[piece.clone()].repeat(times.min(1 + INPUT_BYTES_MAX / (1 + piece.len())));
    text.insert_str(piece.end, &again);
}

fn swap(text: &mut String, rng: &mut Rng) {
    let (a, b) = (piece(text, rng), piece(text, rng));
    let (a, b) = if a.start <= b.start { (a, b) } else { (b, a) };
    if a.end <= b.start {
        let (first, second) = (text[a.clone()].to_owned(), text[b.clone()].to_owned());
        text.replace_range(b, &first);
        text.replace_range(a, &second);
    }
}

fn replace(text: &mut String, rng: &mut Rng, with: &str) {
    let piece = piece(text, rng);
    text.replace_range(piece, with);
}

/// Moves some lines to the right or to the left.
fn indent(text: &mut String, rng: &mut Rng) {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    if lines.is_empty() {
        return;
    }
    let from = rng.usize(..lines.len());
    let to = (from + rng.usize(1..5)).min(lines.len());
    let (right, by) = (rng.bool(), rng.usize(1..5));
    let moved = lines.iter().enumerate().map(|(n, line)| {
        if !(from..to).contains(&n) {
            (*line).to_owned()
        } else if right {
            format!("{}{line}", " ".repeat(by))
        } else {
            line[line.bytes().take(by).take_while(|byte| *byte == b' ').count()..].to_owned()
        }
    });
    *text = moved.collect();
}

fn number(text: &mut String, rng: &mut Rng) {
    let numbers: Vec<_> =
        tokens(text).into_iter().filter(|token| text.as_bytes()[token.start].is_ascii_digit()).collect();
    let with = NUMBERS[rng.usize(..NUMBERS.len())];
    match numbers.len() {
        0 => replace(text, rng, with),
        n => text.replace_range(numbers[rng.usize(..n)].clone(), with),
    }
}

/// Puts something in many brackets.
fn wrap(text: &mut String, rng: &mut Rng) {
    let piece = piece(text, rng);
    let (open, close) = PAIRS[rng.usize(..PAIRS.len())];
    let depth = if rng.u8(..4) == 0 { rng.usize(1..3_000) } else { rng.usize(1..40) };
    text.insert_str(piece.end, &close.repeat(depth));
    text.insert_str(piece.start, &open.repeat(depth));
}

fn repeat_line(text: &mut String, rng: &mut Rng) {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    if lines.is_empty() {
        return;
    }
    let line = lines[rng.usize(..lines.len())].to_owned();
    let at = lines[..rng.usize(..lines.len())].iter().map(|line| line.len()).sum();
    let times = rng.usize(1..200).min(1 + INPUT_BYTES_MAX / (1 + line.len()));
    text.insert_str(at, &line.repeat(times));
}

/// Another character somewhere; often one that means something.
fn garble(text: &mut String, rng: &mut Rng) {
    let at = text.floor_char_boundary(rng.usize(..=text.len()));
    let end = text.ceil_char_boundary((at + rng.usize(..3)).min(text.len()));
    let c = match rng.u8(..4) {
        0 => rng.char(..),
        1 => char::from(rng.u8(..32)),
        _ => char::from(rng.u8(33..127)),
    };
    text.replace_range(at..end, c.encode_utf8(&mut [0; 4]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_always_gives_the_same_input() {
        let seeds = [
            b"dag: a\ntasks:\n  b: { bash: x, retries: 3 }\n".to_vec(),
            "é: [1]".as_bytes().to_vec(),
            Vec::new(),
        ];
        let mixer = Mixer::new(&seeds, vec!["needs", "{{ ds }}"]);
        let mut different = std::collections::BTreeSet::new();
        for number in 0..2_000 {
            let input = mixer.input(number);
            assert!(input.len() <= INPUT_BYTES_MAX);
            assert_eq!(mixer.input(number), input);
            different.insert(input);
        }
        assert!(different.len() > 1_500, "{}", different.len());
    }
}
