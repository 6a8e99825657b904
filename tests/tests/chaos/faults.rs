//! What goes wrong, at random from a seed: kills, pauses, cuts and silence, several at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{proxy::Flow, random::Random};

use crate::{
    servers::Server,
    world::{Kind, Way, World},
};

/// Faults at once.
const AT_ONCE: usize = 4;
/// The wait between two faults, in milliseconds.
const PAUSE_MS: (u64, u64) = (200, 2_000);

/// Something that is wrong at present and will be mended.
#[derive(Debug)]
struct Fault {
    what: Broken,
    until: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Nothing to mend: the process is started again by itself.
    Process(usize),
    Paused(usize),
    ServerDown(Server),
    ServerPaused(Server),
    Way(usize, Way),
}

/// Breaks things and mends them again.
#[derive(Debug)]
pub(crate) struct Faults {
    random: Random,
    open: Vec<Fault>,
    next: Instant,
    pub(crate) count: u32,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), open: Vec::new(), next: Instant::now(), count: 0 }
    }

    /// Mends what is due and breaks the next thing, if it is time.
    pub(crate) async fn go_on(&mut self, world: &mut World) {
        let now = Instant::now();
        while let Some(due) = self.open.iter().position(|fault| fault.until <= now) {
            let fault = self.open.swap_remove(due);
            mend(world, fault.what).await;
        }
        if now >= self.next && self.open.len() < AT_ONCE {
            self.next = now + self.millis(PAUSE_MS.0, PAUSE_MS.1);
            self.break_something(world).await;
        }
    }

    /// Mends whatever is still broken.
    pub(crate) async fn end(&mut self, world: &mut World) {
        for fault in std::mem::take(&mut self.open) {
            mend(world, fault.what).await;
        }
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.random.within(from, to))
    }

    async fn break_something(&mut self, world: &mut World) {
        let process = self.random.below(world.processes.len() as u64) as usize;
        match self.random.below(100) {
            0..25 => self.kill(world, process),
            25..45 => self.pause(world, process),
            45..52 => self.replace(world, process),
            52..58 => self.kill_supervisor(world, process),
            58..90 => self.block(world, process),
            90..95 => self.hit_server(world, Server::Postgres).await,
            _ => self.hit_server(world, Server::Rabbitmq).await,
        }
    }

    /// Whether something is wrong with that process or server already.
    fn is_open(&self, is: impl Fn(&Broken) -> bool) -> bool {
        self.open.iter().any(|fault| is(&fault.what))
    }

    fn hits(&self, process: usize) -> bool {
        self.is_open(|what| matches!(what, Broken::Process(n) | Broken::Paused(n) if *n == process))
    }

    fn add(&mut self, what: Broken, lasting: Duration) {
        self.count += 1;
        self.open.push(Fault { what, until: Instant::now() + lasting });
    }

    fn kill(&mut self, world: &mut World, n: usize) {
        if self.hits(n) || !world.processes[n].is_running() {
            return;
        }
        let down = self.millis(0, 3_000);
        world.timeline.note(format!("kill -9 {}, down for {down:?}", world.processes[n].name));
        world.processes[n].kill(down);
        self.add(Broken::Process(n), down);
    }

    fn pause(&mut self, world: &World, n: usize) {
        let process = &world.processes[n];
        if self.hits(n) || !process.is_running() {
            return;
        }
        // Workers are paused for longer than their lease, sometimes.
        let most = if process.role == Kind::Worker { 20_000 } else { 8_000 };
        let lasting = self.millis(200, most);
        world.timeline.note(format!("{} is paused for {lasting:?}", process.name));
        process.signal(Signal::STOP);
        self.add(Broken::Paused(n), lasting);
    }

    fn replace(&mut self, world: &mut World, n: usize) {
        if self.hits(n) || !world.processes[n].is_running() {
            return;
        }
        world.timeline.note(format!("{} is asked to end", world.processes[n].name));
        world.processes[n].ask_to_end(true);
        self.add(Broken::Process(n), Duration::from_secs(2));
    }

    fn kill_supervisor(&mut self, world: &World, n: usize) {
        let process = &world.processes[n];
        for pid in world.supervisors(process.name) {
            world.timeline.note(format!("kill -9 {pid}, the supervisor of {}", process.name));
            // It may have ended by itself meanwhile.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            self.count += 1;
        }
    }

    fn block(&mut self, world: &World, n: usize) {
        let process = &world.processes[n];
        let ways: Vec<Way> = process.ways.keys().copied().collect();
        let way = ways[self.random.below(ways.len() as u64) as usize];
        if self.is_open(|what| *what == Broken::Way(n, way)) {
            return;
        }
        let flow = if self.random.below(2) == 0 { Flow::Cut } else { Flow::Stalled };
        let lasting = self.millis(200, 18_000);
        world.timeline.note(format!("the way of {} to {way:?} is {flow:?} for {lasting:?}", process.name));
        process.ways[&way].set(flow);
        self.add(Broken::Way(n, way), lasting);
    }

    async fn hit_server(&mut self, world: &World, server: Server) {
        let is_it =
            |what: &Broken| matches!(what, Broken::ServerDown(s) | Broken::ServerPaused(s) if *s == server);
        if self.is_open(is_it) {
            return;
        }
        if self.random.below(2) == 0 {
            let down = self.millis(0, 3_000);
            world.timeline.note(format!("kill -9 {server:?}, down for {down:?}"));
            server.hit("kill").await;
            self.add(Broken::ServerDown(server), down);
        } else {
            let lasting = self.millis(300, 10_000);
            world.timeline.note(format!("{server:?} is paused for {lasting:?}"));
            server.hit("stop").await;
            self.add(Broken::ServerPaused(server), lasting);
        }
    }
}

async fn mend(world: &mut World, what: Broken) {
    match what {
        Broken::Process(_) => {}
        Broken::Paused(n) => {
            world.processes[n].signal(Signal::CONT);
            world.timeline.note(format!("{} goes on", world.processes[n].name));
        }
        Broken::ServerDown(server) => {
            // Others are kept running meanwhile, and nothing else is broken: a server takes seconds to start.
            world.timeline.note(format!("{server:?} starts again"));
            let mut starting = tokio::spawn(server.revive());
            loop {
                tokio::select! {
                    started = &mut starting => break started.unwrap(),
                    () = tokio::time::sleep(Duration::from_millis(100)) => world.keep_running(),
                }
            }
            world.timeline.note(format!("{server:?} answers again"));
        }
        Broken::ServerPaused(server) => {
            server.hit("cont").await;
            world.timeline.note(format!("{server:?} goes on"));
        }
        Broken::Way(n, way) => {
            world.processes[n].ways[&way].set(Flow::Open);
            world.timeline.note(format!("the way of {} to {way:?} is open", world.processes[n].name));
        }
    }
}
