//! What each target does with an input.

mod cron;
mod dag;
mod rhai;
mod template;
mod yaml;

use crate::Target;

/// A target that is ready for inputs. What is costly to make is made once.
pub enum Probe {
    /// See [`Target::Yaml`].
    Yaml(Box<yaml::Yaml>),
    /// See [`Target::Rhai`].
    Rhai(Box<rhai::Rhai>),
    /// See [`Target::Cron`].
    Cron,
    /// See [`Target::Template`].
    Template(Box<template::Template>),
}

impl Probe {
    /// Makes a target ready. With `full`, scripts may take as many steps as in the service; without, a hundredth, so that
    /// a mutation which loops costs milliseconds.
    pub fn new(target: Target, full: bool) -> Self {
        match target {
            Target::Yaml => Self::Yaml(Box::default()),
            Target::Rhai => Self::Rhai(Box::new(rhai::Rhai::new(full))),
            Target::Cron => Self::Cron,
            Target::Template => Self::Template(Box::default()),
        }
    }

    /// Takes an input. Panics if something doesn't hold that must. What isn't UTF-8 never reaches a parser: the service
    /// refuses the file.
    pub fn take(&self, text: String) {
        match self {
            Self::Yaml(yaml) => yaml.take(text),
            Self::Rhai(rhai) => rhai.take(&text),
            Self::Cron => cron::take(&text),
            Self::Template(template) => template.take(&text),
        }
    }
}
