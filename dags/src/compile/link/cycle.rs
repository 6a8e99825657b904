//! Rings of tasks, found in time proportional to the relations.

use crate::tree::ByteRange;

/// More rings than this aren't reported: breaking one often breaks others.
const CYCLES_MAX: usize = 5;

/// Rings in the order of execution, each starting with the task that stands first in the file.
pub(super) fn find(up: &[Vec<(usize, ByteRange)>], places: &[ByteRange]) -> Vec<Vec<usize>> {
    let mut down: Vec<Vec<usize>> = vec![Vec::new(); up.len()];
    for (task, upstream) in up.iter().enumerate() {
        for (before, _) in upstream {
            down[*before].push(task);
        }
    }
    let mut waiting: Vec<usize> = up.iter().map(Vec::len).collect();
    let mut done = vec![false; up.len()];
    let mut ready: Vec<usize> = (0..up.len()).filter(|task| waiting[*task] == 0).collect();
    let mut cycles = Vec::new();
    let mut next = 0;
    loop {
        while let Some(task) = ready.pop() {
            if std::mem::replace(&mut done[task], true) {
                continue;
            }
            for after in &down[task] {
                waiting[*after] -= 1;
                if waiting[*after] == 0 && !done[*after] {
                    ready.push(*after);
                }
            }
        }
        while next < up.len() && done[next] {
            next += 1;
        }
        if next == up.len() || cycles.len() == CYCLES_MAX {
            return cycles;
        }
        let cycle = walk(next, up, &done, places);
        // Taking the ring out lets the tasks behind it end, so that another ring can be found.
        ready.extend(&cycle);
        cycles.push(cycle);
    }
}

/// Every task that isn't done waits for another one, so walking upstream must come back.
fn walk(from: usize, up: &[Vec<(usize, ByteRange)>], done: &[bool], places: &[ByteRange]) -> Vec<usize> {
    let mut seen = vec![usize::MAX; up.len()];
    let mut path = Vec::new();
    let mut task = from;
    while seen[task] == usize::MAX {
        seen[task] = path.len();
        path.push(task);
        let before = up[task].iter().find(|(before, _)| !done[*before]);
        task = before.expect("invariant: a task that can't start waits for one that can't start").0;
    }
    let mut cycle = path.split_off(seen[task]);
    cycle.reverse();
    let first = (0..cycle.len()).min_by_key(|n| places[cycle[*n]]).unwrap_or(0);
    cycle.rotate_left(first);
    cycle
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(up: &[&[usize]]) -> Vec<Vec<usize>> {
        let up: Vec<Vec<_>> =
            up.iter().map(|list| list.iter().map(|n| (*n, ByteRange::default())).collect()).collect();
        let places: Vec<_> = (0..up.len()).map(|n| ByteRange::new(n, n)).collect();
        find(&up, &places)
    }

    #[test]
    fn rings_are_found_and_paths_are_not() {
        assert_eq!(cycles(&[&[], &[0], &[0, 1]]), [[0; 0]; 0]);
        assert_eq!(cycles(&[&[2], &[0], &[1]]), [[0, 1, 2]]);
        assert_eq!(cycles(&[&[1], &[0], &[3], &[2], &[0]]), [[0, 1], [2, 3]]);
        assert_eq!(cycles(&[&[1, 2], &[0], &[0]]).len(), 1, "taking the first ring out breaks the second");
    }

    #[test]
    fn a_long_ring_is_found_fast() {
        let n = 10_000;
        let up: Vec<Vec<usize>> = (0..n).map(|task| vec![(task + n - 1) % n]).collect();
        let up: Vec<&[usize]> = up.iter().map(Vec::as_slice).collect();
        assert_eq!(cycles(&up)[0].len(), n);
    }
}
