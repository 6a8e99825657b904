//! The program over its pipes.

use std::{
    io::{Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};

use serde_json::{Value, json};
use updraft_script::frame;

struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Program {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_updraft-script"))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take();
        let output = child.stdout.take().expect("standard output is a pipe");
        Self { child, input, output }
    }

    fn ready() -> Self {
        let mut program = Self::start();
        program.send(&json!({
            "format": 1,
            "limits": { "memory_bytes": 192 << 20 },
            "language": { "operators": [{ "name": "bash" }], "dag_keys": ["doc"], "task_keys": ["needs"] },
        }));
        let ready = program.receive().expect("the program answers the handshake");
        assert_eq!(ready["format"], 1, "{ready}");
        program
    }

    fn send(&mut self, message: &Value) {
        let bytes = serde_json::to_vec(message).expect("a message is JSON");
        frame::write(self.input.as_mut().expect("the input is open"), &bytes).expect("the pipe is open");
    }

    fn receive(&mut self) -> Option<Value> {
        let bytes = frame::read(&mut self.output).expect("whole frames")?;
        Some(serde_json::from_slice(&bytes).expect("answers are JSON"))
    }

    fn ask(&mut self, body: &Value) -> Option<Value> {
        self.send(&json!({ "format": 1, "id": 7, "body": body }));
        let answer = self.receive()?;
        assert_eq!(answer["id"], 7);
        Some(answer["reply"].clone())
    }

    fn end(mut self) -> (ExitStatus, String) {
        drop(self.input.take());
        let mut words = String::new();
        self.child
            .stderr
            .take()
            .expect("standard error is a pipe")
            .read_to_string(&mut words)
            .expect("it is text");
        (self.child.wait().expect("the program ends"), words)
    }
}

#[test]
fn it_answers_until_its_input_ends() {
    let mut program = Program::ready();
    let eval = json!({ "eval": { "expression": "{{ a + 1 }}", "context": { "a": 1 } } });
    assert_eq!(program.ask(&eval).unwrap()["value"]["value"], 2);
    let render = json!({ "render": { "fields": [
        { "source": { "cmd": "echo {{ a }}" }, "code": true },
        { "source": "echo {{ b }}", "code": true },
        { "source": "{{ a }}" },
    ], "context": { "a": 1, "b": "; rm" } } });
    let values = program.ask(&render).unwrap();
    assert_eq!(values["values"][0], json!({ "value": { "cmd": "echo 1" } }));
    assert!(values["values"][1]["fault"]["hint"].as_str().unwrap().contains("| sh"));
    assert_eq!(values["values"][2], json!({ "value": 1 }));
    let (status, words) = program.end();
    assert!(status.success() && words.is_empty(), "{status} {words}");
}

#[test]
fn modules_come_over_the_pipe() {
    let mut program = Program::ready();
    let text = "import \"m\" as m; m::make()";
    let need = program.ask(&json!({ "compile": { "path": "a.rhai", "text": text } })).unwrap();
    assert_eq!(need["need"]["module"], "m");
    let answer = program.ask(&json!({ "module": { "text": "fn make() { dag(\"x\") }" } })).unwrap();
    assert_eq!(answer["trees"]["trees"][0]["kind"]["map"][0]["value"]["kind"]["str"], "x");
    let need = program.ask(&json!({ "compile": { "path": "a.rhai", "text": text } })).unwrap();
    assert_eq!(need["need"]["module"], "m", "nothing is kept from the last request");
    let fault = program.ask(&json!({ "module": { "text": null, "reason": "it is a link" } })).unwrap();
    assert!(fault["fault"]["message"].as_str().unwrap().contains("it is a link"), "{fault}");
    assert_eq!(fault["fault"]["line"], 1);
}

fn filled(tasks: usize) -> Value {
    let text = format!(
        "let s = \"\"; s.pad(500000, 'ä'); let d = dag(\"d\"); for i in 0..{tasks} {{ d.task(\"t\" + i, bash(s)); }} d"
    );
    json!({ "compile": { "path": "t", "text": text } })
}

#[test]
fn a_large_answer_comes_in_parts() {
    let mut program = Program::ready();
    let mut reply = program.ask(&filled(9)).unwrap();
    let mut joined = String::new();
    while let Some(part) = reply["part"]["text"].as_str() {
        joined.push_str(part);
        reply = program.receive().unwrap()["reply"].clone();
    }
    assert_eq!(reply["joined"]["bytes"], joined.len());
    assert!(joined.len() > frame::FRAME_BYTES_MAX, "{}", joined.len());
    let answer: Value = serde_json::from_str(&joined).unwrap();
    assert!(answer["reply"]["trees"]["trees"][0]["kind"]["map"].is_array());
}

#[test]
fn an_answer_over_the_limit_is_a_fault() {
    let mut program = Program::ready();
    let answer = program.ask(&filled(40)).unwrap();
    assert_eq!(answer["fault"]["limit"], "result", "{answer}");
    let eval = json!({ "eval": { "expression": "1", "context": {} } });
    assert_eq!(program.ask(&eval).unwrap()["value"]["value"], 1, "it goes on");
}

#[test]
fn messages_against_the_protocol_end_it_with_a_reason() {
    let mut nine = (9_u32 << 20).to_be_bytes().to_vec();
    nine.resize(1024, b' ');
    let mut long_json = 2_u32.to_be_bytes().to_vec();
    long_json.extend(b"[]");
    for (bytes, reason) in [
        (nine, "at most 8388608"),
        (long_json, "protocol"),
        (vec![0, 0, 0, 4, b'x', b'x', b'x', b'x'], "protocol"),
    ] {
        let mut program = Program::ready();
        program.input.as_mut().unwrap().write_all(&bytes).unwrap();
        assert!(program.receive().is_none());
        let (status, words) = program.end();
        assert!(status.code() == Some(2) && words.contains(reason), "{status} {words}");
    }
    let mut program = Program::start();
    program.send(&json!({ "format": 2 }));
    assert!(program.receive().is_none());
    assert!(program.end().1.contains("format 2"));
}

#[test]
fn memory_bombs_end_it() {
    for (body, what) in [
        (
            json!({ "eval": { "expression": "('x' * 90000000) ~ ('x' * 90000000) ~ ('x' * 90000000)", "context": {} } }),
            "text",
        ),
        (json!({ "eval": { "expression": "('x' * 90000000) | list", "context": {} } }), "list"),
    ] {
        let mut program = Program::ready();
        assert!(program.ask(&body).is_none(), "{what}");
        let (status, words) = program.end();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(6),
            "{what}: {status} {words}"
        );
        assert!(words.contains("memory allocation"), "{what}: {words}");
    }
}
