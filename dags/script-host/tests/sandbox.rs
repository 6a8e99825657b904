//! Attacks by a process that has confined itself as `updraft-script` does. Each must end it, or be refused.
//!
//! Not on the usual test harness: that has threads, and the attacker must be alone in its process.

#![expect(clippy::print_stdout, reason = "a test without a harness reports by itself")]

use std::{
    io::Write as _,
    process::{Command, ExitCode, Output, Stdio},
};

use updraft_script::{
    protocol::Limits,
    sandbox::{InForce, Landlock, cpu_us, enter},
};

/// Tries something forbidden; true if it worked.
type Attack = fn() -> bool;

const ATTACKS: [(&str, Attack); 8] = [
    ("read_file", || std::fs::read("/etc/passwd").is_ok()),
    ("write_file", || std::fs::write("/tmp/updraft-script-attack", "x").is_ok()),
    ("list_folder", || std::fs::read_dir("/").is_ok()),
    ("udp", || std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
    ("tcp", || std::net::TcpStream::connect("127.0.0.1:1").is_ok()),
    ("unix_socket", || std::os::unix::net::UnixStream::pair().is_ok()),
    ("process", || Command::new("/bin/true").status().is_ok()),
    ("thread", || std::thread::Builder::new().spawn(|| ()).is_ok()),
];

const SIGABRT: i32 = 6;
const SIGXCPU: i32 = 24;
const SIGSYS: i32 = 31;

fn attacker(name: &str) -> ExitCode {
    let limits = Limits { cpu_seconds: 1, ..Limits::default() };
    let in_force = enter(&limits).expect("the limits can be set");
    match name {
        "report" => {
            let report = serde_json::to_vec(&in_force).expect("the report is JSON");
            std::io::stdout().write_all(&report).expect("standard output is open");
        }
        "memory" => {
            let block = vec![1_u8; 300 << 20];
            println!("{}", block.len());
        }
        "cpu" => while cpu_us() < 60_000_000 {},
        name => {
            let attack = ATTACKS.iter().find(|(known, _)| *known == name).expect("a known attack").1;
            return if attack() { ExitCode::SUCCESS } else { ExitCode::from(3) };
        }
    }
    ExitCode::SUCCESS
}

fn attack(name: &str) -> Output {
    let own = std::env::current_exe().expect("this program has a path");
    Command::new(own)
        .env_clear()
        .args(["--attack", name])
        .stdin(Stdio::null())
        .output()
        .expect("this program starts again")
}

fn signal(output: &Output) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&output.status)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name] = arguments.as_slice()
        && flag == "--attack"
    {
        return attacker(name);
    }
    let report: InForce = serde_json::from_slice(&attack("report").stdout).expect("the report arrives");
    println!("in force: {report:?}");
    assert_eq!(report.limits.len(), 6);
    if cfg!(target_os = "linux") {
        assert!(
            report.seccomp || report.missing.iter().any(|reason| reason.starts_with("seccomp")),
            "{report:?}"
        );
        assert!(report.landlock != Landlock::None || !report.missing.is_empty(), "{report:?}");
    }
    for (name, _) in ATTACKS {
        let output = attack(name);
        assert!(!output.status.success(), "{name} worked: {output:?}");
        if report.seccomp {
            assert_eq!(signal(&output), Some(SIGSYS), "{name}: {output:?}");
        }
        println!("attack {name} ... refused");
    }
    let memory = attack("memory");
    assert_eq!(signal(&memory), Some(SIGABRT), "{memory:?}");
    assert!(String::from_utf8_lossy(&memory.stderr).contains("memory allocation"), "{memory:?}");
    println!("attack memory ... refused");
    let cpu = attack("cpu");
    assert_eq!(signal(&cpu), Some(SIGXCPU), "{cpu:?}");
    println!("attack cpu ... refused");
    ExitCode::SUCCESS
}
