//! Masks secrets in a stream of bytes, however the stream is cut into pieces.
//!
//! A [`Secrets`] is made once per attempt from every secret value that the attempt could read; a [`Masker`] per
//! stream replaces each occurrence, in any of the forms that [`forms`] lists, by `***`. Bytes that could begin a
//! secret are held back until the next bytes decide, or until [`Masker::flush`], which prints `***` for them.
//!
//! Masking prevents accidents. It is no barrier against an author who wants to see a secret.

use std::sync::Arc;

use automaton::Automaton;

mod automaton;
mod forms;

/// What is printed in place of a secret.
pub const MASK: &[u8] = b"***";

/// Shorter secrets can't be masked without making logs unreadable.
pub const SECRET_BYTES_MIN: usize = 5;

/// The secrets of one attempt, in all forms, ready to be searched for.
#[derive(Debug, Clone)]
pub struct Secrets {
    automaton: Option<Arc<Automaton>>,
    too_short: usize,
}

impl Secrets {
    /// Prepares the search for these values. Those under [`SECRET_BYTES_MIN`] bytes are only counted.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut patterns, mut too_short) = (std::collections::BTreeSet::new(), 0);
        for value in values {
            if value.len() >= SECRET_BYTES_MIN {
                forms::add(value, &mut patterns);
            } else if !value.is_empty() {
                too_short += 1;
            }
        }
        let automaton =
            (!patterns.is_empty()).then(|| Arc::new(Automaton::new(patterns.iter().map(Vec::as_slice))));
        Self { automaton, too_short }
    }

    /// How many secrets are too short to be masked.
    pub fn too_short(&self) -> usize {
        self.too_short
    }

    /// A masker for one stream.
    pub fn masker(&self) -> Masker {
        Masker {
            automaton: self.automaton.clone(),
            state: Automaton::START,
            held: Vec::new(),
            base: 0,
            covered: Vec::new(),
            masked_to: None,
        }
    }

    /// A whole text, masked.
    pub fn mask(&self, text: &str) -> String {
        if self.automaton.is_none() {
            return text.to_owned();
        }
        let (mut masker, mut out) = (self.masker(), Vec::with_capacity(text.len()));
        masker.push(text.as_bytes(), &mut out);
        masker.finish_whole(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Masks every text inside a JSON value, keys of objects too.
    pub fn mask_json(&self, value: &mut serde_json::Value) {
        use serde_json::Value;
        if self.automaton.is_none() {
            return;
        }
        match value {
            Value::String(text) => *text = self.mask(text),
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.mask_json(element)),
            Value::Object(fields) => {
                for (key, mut field) in std::mem::take(fields) {
                    self.mask_json(&mut field);
                    fields.insert(self.mask(&key), field);
                }
            }
            Value::Number(number) => {
                let text = number.to_string();
                let masked = self.mask(&text);
                if masked != text {
                    *value = Value::String(masked);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}

/// Masks one stream. What it prints depends on the bytes and the flushes, never on how the bytes were cut.
#[derive(Debug)]
pub struct Masker {
    automaton: Option<Arc<Automaton>>,
    state: u32,
    /// Bytes that aren't printed yet; the first is number `base` of the stream.
    held: Vec<u8>,
    base: u64,
    /// Ranges of the stream that belong to secrets and aren't printed yet: sorted, apart from each other.
    covered: Vec<(u64, u64)>,
    /// Where the last printed mask ends, so that secrets side by side print as one.
    masked_to: Option<u64>,
}

impl Masker {
    /// Takes bytes of the stream and appends to `out` whatever is decided by now.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Some(automaton) = self.automaton.clone() else {
            out.extend_from_slice(bytes);
            return;
        };
        let mut position = self.base + self.held.len() as u64;
        self.held.extend_from_slice(bytes);
        for byte in bytes {
            self.state = automaton.step(self.state, *byte);
            position += 1;
            let length = automaton.longest_match(self.state);
            if length > 0 {
                self.cover(position - u64::from(length), position);
            }
        }
        self.print(position - u64::from(automaton.depth(self.state)), out);
    }

    /// Whether bytes are held back because they could begin a secret.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Prints `***` for what is held back: its time is up, or the stream has ended.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if self.holds() {
            let end = self.base + self.held.len() as u64;
            self.cover(self.base, end);
            self.print(end, out);
        }
    }

    /// Prints what is held back as it is, but for whole secrets: the text is known to be complete.
    fn finish_whole(&mut self, out: &mut Vec<u8>) {
        self.print(self.base + self.held.len() as u64, out);
    }

    fn cover(&mut self, start: u64, end: u64) {
        let mut start = start.max(self.base);
        while let Some((last_start, last_end)) = self.covered.last().copied() {
            if last_end < start {
                break;
            }
            start = start.min(last_start);
            self.covered.pop();
        }
        self.covered.push((start, end));
    }

    /// Prints the stream up to `boundary`.
    fn print(&mut self, boundary: u64, out: &mut Vec<u8>) {
        if boundary <= self.base {
            return;
        }
        let (base, mut at) = (self.base, self.base);
        let mut done = 0;
        for (start, end) in &self.covered {
            if *start >= boundary {
                break;
            }
            out.extend_from_slice(&self.held[(at - base) as usize..(*start - base) as usize]);
            if self.masked_to != Some(*start) {
                out.extend_from_slice(MASK);
            }
            at = (*end).min(boundary);
            self.masked_to = Some(at);
            done += usize::from(*end <= boundary);
        }
        self.covered.drain(..done);
        if let Some((start, _)) = self.covered.first_mut() {
            *start = (*start).max(boundary);
        }
        out.extend_from_slice(&self.held[(at - base) as usize..(boundary - base) as usize]);
        self.held.drain(..(boundary - base) as usize);
        self.base = boundary;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(secrets: &Secrets, pieces: &[&[u8]]) -> String {
        let (mut masker, mut out) = (secrets.masker(), Vec::new());
        for piece in pieces {
            masker.push(piece, &mut out);
        }
        masker.flush(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_secret_is_masked_wherever_the_stream_is_cut() {
        let secrets = Secrets::new(["hunter2!", "s3cr3t value"]);
        let text = b"user=me password=hunter2! and \"s3cr3t value\"; hunter2!hunter2! hunter\n";
        let whole = run(&secrets, &[text]);
        assert_eq!(whole, "user=me password=*** and \"***\"; *** hunter\n");
        for i in 0..text.len() {
            for j in i..text.len() {
                assert_eq!(
                    run(&secrets, &[&text[..i], &text[i..j], &text[j..]]),
                    whole,
                    "cut at {i} and {j}"
                );
            }
        }
    }

    #[test]
    fn every_form_is_masked() {
        let secret = "pa'ss \"w<rd&/+1";
        let secrets = Secrets::new([secret]);
        for form in [
            "pa'ss \"w<rd&/+1",
            "pa'ss \\\"w<rd&/+1",
            "pa'ss \\\"w\\u003crd\\u0026/+1",
            "pa&#39;ss &quot;w&lt;rd&amp;/+1",
            "pa&#x27;ss &quot;w&lt;rd&amp;/+1",
            "'pa'\\''ss \"w<rd&/+1'",
            "pa\\'ss\\ \\\"w\\<rd\\&/+1",
            "pa%27ss%20%22w%3Crd%26%2F%2B1",
            "pa%27ss%20%22w%3crd%26%2f%2b1",
            "pa%27ss+%22w%3Crd%26%2F%2B1",
            "pa'ss%20%22w%3Crd&/+1",
            "70612773732022773c7264262f2b31",
            "70612773732022773C7264262F2B31",
        ] {
            let printed = run(&secrets, &[form.as_bytes(), b"\n"]);
            assert!(printed.contains("***"), "{form} printed as {printed}");
            assert!(!printed.contains("ss"), "{form} printed as {printed}");
        }
    }

    #[test]
    fn base64_is_masked_at_all_alignments() {
        let secrets = Secrets::new(["correct-horse"]);
        // `user:correct-horse`, `u:correct-horse`, `us:correct-horse` and the secret alone
        for text in [
            "dXNlcjpjb3JyZWN0LWhvcnNl",
            "dTpjb3JyZWN0LWhvcnNl",
            "dXM6Y29ycmVjdC1ob3JzZQ==",
            "Y29ycmVjdC1ob3JzZQ==",
        ] {
            let printed = run(&secrets, &[text.as_bytes(), b"\n"]);
            assert!(printed.contains("***") && printed.len() < 12, "{text} printed as {printed}");
        }
    }

    #[test]
    fn lines_of_a_long_secret_are_secrets_too() {
        let secrets = Secrets::new(["-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort\n-----END KEY-----"]);
        assert_eq!(run(&secrets, &[b"x MIIEvQIBADANBg y short z\n"]), "x *** y short z\n");
    }

    #[test]
    fn what_could_begin_a_secret_is_held_and_then_masked() {
        let secrets = Secrets::new(["hunter2!"]);
        let (mut masker, mut out) = (secrets.masker(), Vec::new());
        masker.push(b"say hunt", &mut out);
        assert_eq!((out.as_slice(), masker.holds()), (b"say ".as_slice(), true));
        masker.flush(&mut out);
        assert_eq!((out.as_slice(), masker.holds()), (b"say ***".as_slice(), false));
        masker.push(b"er2! done\n", &mut out);
        assert_eq!(out, b"say *** done\n");
    }

    #[test]
    fn short_and_empty_secrets_are_not_searched_for() {
        let secrets = Secrets::new(["", "abcd"]);
        assert_eq!(secrets.too_short(), 1);
        assert_eq!(run(&secrets, &[b"abcd"]), "abcd");
    }

    #[test]
    fn json_results_stay_json() {
        let secrets = Secrets::new(["1234567", "hunter2!"]);
        let mut value = serde_json::json!({ "hunter2!": [1_234_567, "a hunter2! b", true, 7] });
        secrets.mask_json(&mut value);
        assert_eq!(value, serde_json::json!({ "***": ["***", "a *** b", true, 7] }));
    }

    /// Marks every occurrence of every form by brute force.
    fn model(values: &[String], text: &[u8]) -> Vec<u8> {
        let mut patterns = std::collections::BTreeSet::new();
        values.iter().filter(|v| v.len() >= SECRET_BYTES_MIN).for_each(|v| forms::add(v, &mut patterns));
        let mut covered = vec![false; text.len()];
        for pattern in &patterns {
            for start in 0..text.len() {
                if text[start..].starts_with(pattern) {
                    covered[start..start + pattern.len()].fill(true);
                }
            }
        }
        let mut out = Vec::new();
        for (i, byte) in text.iter().enumerate() {
            match (covered[i], i > 0 && covered[i - 1]) {
                (true, false) => out.extend_from_slice(MASK),
                (true, true) => {}
                (false, _) => out.push(*byte),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn masking_equals_the_model_however_it_is_cut(
            values in prop::collection::vec("[ab]{5,9}", 1..4),
            text in "[ab ]{0,80}",
            cuts in prop::collection::vec(0_usize..80, 0..6),
        ) {
            // A closing byte that begins no secret decides everything before it.
            let text = format!("{text}\n").into_bytes();
            let secrets = Secrets::new(values.iter().map(String::as_str));
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut masker, mut out) = (secrets.masker(), Vec::new());
            cuts.windows(2).for_each(|cut| masker.push(&text[cut[0]..cut[1]], &mut out));
            prop_assert!(!masker.holds());
            prop_assert_eq!(out, model(&values, &text));
        }

        #[test]
        fn no_secret_survives_any_flushes(
            value in "[abc]{5,12}",
            pieces in prop::collection::vec(("[abc]{0,12}", any::<bool>()), 0..12),
        ) {
            let secrets = Secrets::new([value.as_str()]);
            let (mut masker, mut out) = (secrets.masker(), Vec::new());
            for (piece, flush) in &pieces {
                masker.push(piece.as_bytes(), &mut out);
                if *flush { masker.flush(&mut out); }
            }
            masker.flush(&mut out);
            prop_assert!(!String::from_utf8_lossy(&out).contains(&value));
        }
    }
}
