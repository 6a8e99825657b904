//! The command lines that the help shows are command lines.

use clap::{CommandFactory as _, Parser};

use super::*;

#[derive(Debug, Parser)]
#[command(name = "updraft")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn each(command: &clap::Command, check: &mut dyn FnMut(&clap::Command)) {
    check(command);
    command.get_subcommands().for_each(|inner| each(inner, check));
}

/// Words of a command line without what the shell does itself.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" < ").next().unwrap_or_default();
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words
}

#[test]
fn every_command_has_an_example_that_can_be_read() {
    let command = Cli::command();
    command.clone().debug_assert();
    let mut examples = 0;
    each(&command, &mut |command| {
        if command.get_name() == "updraft" || command.get_name() == "help" {
            return;
        }
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<&str> =
            help.lines().filter(|line| line.trim_start().starts_with("updraft ")).collect();
        assert!(help.contains("Example") && !lines.is_empty(), "{}: {help}", command.get_name());
        for line in lines {
            if let Err(error) = Cli::try_parse_from(words(line.trim())) {
                panic!("{line}\n{error}");
            }
            examples += 1;
        }
    });
    assert!(examples > 40, "{examples}");
}

#[test]
fn socket_and_format_may_stand_anywhere() {
    for line in [
        "updraft runs --socket /tmp/x.sock --format json list",
        "updraft runs list --format json --socket /tmp/x.sock daily",
    ] {
        let Command::Runs(runs) = Cli::try_parse_from(words(line)).unwrap().command else { panic!("{line}") };
        let socket = runs.service.at.socket.as_deref().and_then(Path::to_str);
        assert_eq!((socket, runs.service.format), (Some("/tmp/x.sock"), Format::Json));
    }
    assert!(Cli::try_parse_from(words("updraft variables set a b --stdin")).is_err());
    assert!(Cli::try_parse_from(words("updraft variables set a")).is_err());
    assert!(Cli::try_parse_from(words("updraft pools set a -1")).is_ok());
}

#[tokio::test]
async fn nobody_there_is_said_with_what_to_do() {
    let line = "updraft dags list --socket /nowhere/updraft.sock";
    let command = Cli::try_parse_from(words(line)).unwrap().command;
    let mut out = Vec::new();
    let error = run(command, &mut out, false, Timestamp(0)).await.unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/updraft.sock: start one with `updraft standalone`"),
        "{error}"
    );
    assert!(out.is_empty() && !error.is_usage());
}
