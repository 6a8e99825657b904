//! From a file, the environment and flags to settings. Everything that is wrong is found at once.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use dags::suggest;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::settings::{
    Settings,
    keys::{self, Key, NAME, Section, Shown, Takes},
};

/// How a variable of the environment begins that sets a key.
pub(crate) const PREFIX: &str = "UPDRAFT__";
/// Bits of a file's mode that let others change it.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// A variable of the environment.
    Environment(String),
    /// A flag as it is written, such as `--set`.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value on its way: as text, which its key says how to read, or typed.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// Such as `scheduler.lease_ms`.
    pub(crate) key: String,
    pub(crate) value: Raw,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone)]
pub(crate) enum Raw {
    Text(String),
    Typed(Value),
}

/// What settings are made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// The environment's variables that begin with [`PREFIX`].
    pub(crate) environment: Vec<(String, String)>,
    /// What flags say, later ones first to count.
    pub(crate) flags: Vec<Given>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The key and its value, where it comes from, what is wrong and what to do, as one sentence.
    pub(crate) text: String,
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file can't be used at all.
    #[error("failed to read the settings from {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Keys or values are wrong.
    #[error("the settings can't be used:\n{}", lines(.0))]
    Wrong(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {}", problem.text)).collect::<Vec<_>>().join("\n")
}

/// Settings and where each of them comes from.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// What was set, by key.
    pub(crate) values: BTreeMap<String, (Value, Origin)>,
}

/// Puts the sources together.
pub(crate) fn load(sources: Sources) -> Result<Loaded, Error> {
    let sections = keys::sections();
    let mut given = match &sources.file {
        Some(path) => read(path)?,
        None => Vec::new(),
    };
    given.extend(sources.environment.into_iter().map(|(name, value)| Given {
        key: name[PREFIX.len()..].to_lowercase().replace("__", "."),
        value: Raw::Text(value),
        origin: Origin::Environment(name),
    }));
    given.extend(sources.flags);
    let (mut values, mut problems) = (BTreeMap::new(), Vec::new());
    for Given { key, value, origin } in given {
        match find(&sections, &key) {
            Ok(known) => match accept(known, &value) {
                Ok(value) => drop(values.insert(key, (value, origin))),
                Err(wanted) => {
                    let value = shown_raw(known.shown, &value);
                    problems.push(Problem { text: format!("`{key}` is {value} ({origin}), but {wanted}") });
                }
            },
            Err(hint) => problems.push(Problem { text: format!("`{key}` ({origin}) isn't a setting{hint}") }),
        }
    }
    if !problems.is_empty() {
        return Err(Error::Wrong(problems));
    }
    let mut tree = Map::new();
    for (key, (value, _)) in &values {
        insert(&mut tree, key, value.clone());
    }
    match serde_path_to_error::deserialize::<_, Settings>(Value::Object(tree)) {
        Ok(settings) => Ok(Loaded { settings, values }),
        Err(error) => {
            let key = error.path().to_string();
            let (value, origin) = match values.get(&key) {
                Some((value, origin)) => (format!(" is {value}"), format!(" ({origin})")),
                None => Default::default(),
            };
            let text = format!("`{key}`{value}{origin}: {}", error.into_inner());
            Err(Error::Wrong(vec![Problem { text }]))
        }
    }
}

/// The file's values, each with its line.
fn read(path: &Path) -> Result<Vec<Given>, Error> {
    let failed = |why: String| Error::File { path: path.to_owned(), why };
    let io = |error: io::Error| failed(error.to_string());
    let mode = fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        let why = format!("others may change it (mode {:04o}): run `chmod go-w` on it", mode & 0o7777);
        return Err(failed(why));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let table = DeTable::parse(&text).map_err(|error| failed(error.to_string().trim_end().to_owned()))?;
    let mut given = Vec::new();
    collect(table.get_ref(), "", &text, path, &mut given);
    Ok(given)
}

fn collect(table: &DeTable<'_>, prefix: &str, text: &str, path: &Path, given: &mut Vec<Given>) {
    for (key, value) in table {
        let name = key.get_ref();
        let full = if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") };
        match value.get_ref() {
            // An executor of which nothing is said isn't one; elsewhere an empty section has its defaults.
            DeValue::Table(inner) if !inner.is_empty() || prefix != "executors" => {
                collect(inner, &full, text, path, given);
            }
            inner => {
                let line = text[..key.span().start].matches('\n').count() + 1;
                let origin = Origin::File(path.to_owned(), line);
                given.push(Given { key: full, value: Raw::Typed(json(inner)), origin });
            }
        }
    }
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map_or_else(|_| number.as_str().into(), Value::from)
        }
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or_else(|_| number.as_str().into(), Value::from)
        }
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(list) => list.iter().map(|value| json(value.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect()
        }
    }
}

/// The key of a path; an error is the rest of the sentence.
fn find<'a>(sections: &'a [Section], path: &str) -> Result<&'a Key, String> {
    let all = || sections.iter().flat_map(|section| &section.keys);
    if let Some(key) = all().find(|key| fits(&key.path, path)) {
        return Ok(key);
    }
    let parts: Vec<&str> = path.split('.').collect();
    // The user's own names are filled in, so that what is suggested can be copied.
    let filled = |key: &Key| {
        let own = key.path.split('.').enumerate().map(|(at, part)| match part {
            NAME => parts.get(at).copied().unwrap_or(NAME),
            part => part,
        });
        own.collect::<Vec<_>>().join(".")
    };
    let candidates: Vec<String> = all().map(filled).collect();
    let last = parts.last().copied().unwrap_or_default();
    let elsewhere = || candidates.iter().find(|candidate| candidate.rsplit('.').next() == Some(last));
    Err(match suggest::did_you_mean(path, candidates.iter().map(String::as_str)) {
        Some(hint) => format!("; {hint}"),
        None => match elsewhere() {
            Some(candidate) => format!("; did you mean `{candidate}`?"),
            None => {
                let section =
                    sections.iter().find(|section| section.path.split('.').next() == parts.first().copied());
                match section {
                    Some(section) => {
                        let names = section.keys.iter().filter_map(|key| key.path.rsplit('.').next());
                        format!(": `{}` has {}", section.path, suggest::list(names, "and"))
                    }
                    None => {
                        let names = sections.iter().filter_map(|section| section.path.split('.').next());
                        format!(": the sections are {}", suggest::list(names, "and"))
                    }
                }
            }
        },
    })
}

fn fits(key: &str, path: &str) -> bool {
    let (mut own, mut given) = (key.split('.'), path.split('.'));
    loop {
        match (own.next(), given.next()) {
            (None, None) => return true,
            (Some(own), Some(given)) if own == given || (own == NAME && !given.is_empty()) => {}
            _ => return false,
        }
    }
}

/// The value as its key takes it; an error says what that is.
fn accept(key: &Key, value: &Raw) -> Result<Value, String> {
    let wanted = || format!("must be {}", takes(&key.takes));
    match (&key.takes, value) {
        (Takes::Text, Raw::Text(text)) => Ok(text.as_str().into()),
        (Takes::Text, Raw::Typed(value @ Value::String(_))) => Ok(value.clone()),
        (Takes::Integer { min, max }, value) => {
            let number = match value {
                Raw::Text(text) => text.trim().parse().ok(),
                Raw::Typed(value) => value.as_i64(),
            };
            let number = number.filter(|number| (min..=max).contains(&number));
            number.map(Value::from).ok_or_else(wanted)
        }
        (Takes::Boolean, Raw::Text(text)) => {
            text.trim().parse::<bool>().map(Value::from).map_err(|_| wanted())
        }
        (Takes::Boolean, Raw::Typed(value @ Value::Bool(_))) => Ok(value.clone()),
        (Takes::Word(words), value) => {
            let text = match value {
                Raw::Text(text) => Some(text.as_str()),
                Raw::Typed(value) => value.as_str(),
            };
            let known = || words.iter().map(|(word, _)| word.as_str());
            match text {
                Some(text) if known().any(|word| word == text) => Ok(text.into()),
                Some(text) => Err(match suggest::did_you_mean(text, known()) {
                    Some(hint) => format!("{}; {hint}", wanted()),
                    None => wanted(),
                }),
                None => Err(wanted()),
            }
        }
        (Takes::Texts, Raw::Text(text)) => {
            Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect())
        }
        (Takes::Texts, Raw::Typed(value @ Value::Array(list))) if list.iter().all(Value::is_string) => {
            Ok(value.clone())
        }
        _ => Err(wanted()),
    }
}

/// What a key takes, in words.
pub(crate) fn takes(takes: &Takes) -> String {
    match takes {
        Takes::Text => "a text".to_owned(),
        Takes::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Takes::Boolean => "`true` or `false`".to_owned(),
        Takes::Word(words) => suggest::list(words.iter().map(|(word, _)| word.as_str()), "or"),
        Takes::Texts => "a list of texts".to_owned(),
    }
}

fn shown_raw(shown: Shown, value: &Raw) -> String {
    match value {
        Raw::Text(text) => self::shown(shown, &text.as_str().into()),
        Raw::Typed(value) => self::shown(shown, value),
    }
}

/// A value for people, without what is secret.
pub(crate) fn shown(shown: Shown, value: &Value) -> String {
    match (shown, value) {
        (Shown::Whole, value) => value.to_string(),
        (Shown::Url, Value::String(url)) => Value::from(migrations::redacted(url)).to_string(),
        (Shown::Url | Shown::Never, _) => "(hidden)".to_owned(),
    }
}

/// Puts a value at its place in a tree.
fn insert(tree: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(tree.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = tree.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
