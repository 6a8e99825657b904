//! Tokens: how they look, how they are made, and how those of attempts are proved.
//!
//! A token is `updraft_<kind>_<random>_<checksum>`. Tokens of machines are random and stored as their SHA-256. Those of
//! dispatches hold no secret of their own: they are a MAC under a key that only the service has, and are worth something only as
//! long as the dispatch is current.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use dags::ids::{DispatchId, WorkerId};
use ring::{hmac, rand::SecureRandom as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Characters of a token that may be shown.
const PREFIX_CHARS: usize = 8;
/// The operating system gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandom;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Makes a machine a worker, once.
    Enrolment,
    /// A machine's proof that it is one.
    Worker,
    /// Opens what belongs to one dispatch.
    Attempt,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Enrolment => "enrolment",
            Self::Worker => "worker",
            Self::Attempt => "attempt",
        }
    }
}

fn sealed(kind: Kind, content: &str) -> String {
    let text = format!("updraft_{}_{content}", kind.word());
    let sum = checksum(&text);
    format!("{text}_{sum}")
}

fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    format!("{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2])
}

/// The content of a token of that kind; none if it is another kind, cut or mistyped.
fn open(kind: Kind, token: &str) -> Option<&str> {
    let (text, sum) = token.rsplit_once('_')?;
    let content = text.strip_prefix("updraft_")?.strip_prefix(kind.word())?.strip_prefix('_')?;
    (checksum(text) == sum).then_some(content)
}

/// A new random token.
pub fn random(kind: Kind) -> Result<String, NoRandom> {
    let mut bytes = [0; 32];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(sealed(kind, &text_of(&bytes)))
}

/// The form in which a random token is stored: SHA-256, and a few characters for people. None if it isn't of that kind.
pub fn stored(kind: Kind, token: &str) -> Option<([u8; 32], String)> {
    let content = open(kind, token)?;
    let prefix = content.chars().take(PREFIX_CHARS).collect();
    Some((Sha256::digest(token.as_bytes()).into(), prefix))
}

/// Proves which dispatch was sent to which worker, and which attempt a token belongs to.
#[derive(Clone)]
pub struct Keys {
    ticket: hmac::Key,
    attempt: hmac::Key,
    worker: hmac::Key,
    pod: hmac::Key,
    pod_attempt: hmac::Key,
}

/// One member of a dispatch, claimed by a pod that runs it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodAttempt {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// Its member.
    pub member: u32,
    /// What the pod called itself when it claimed it: a number that nobody else knows.
    pub claimant: Uuid,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl Keys {
    /// Keys that follow from a secret that every part of the service has.
    pub fn new(secret: &[u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let key = |label: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, label).as_ref());
        Self {
            ticket: key(b"ticket 1"),
            attempt: key(b"attempt 1"),
            worker: key(b"worker 1"),
            pod: key(b"pod 1"),
            pod_attempt: key(b"pod attempt 1"),
        }
    }

    /// That a dispatch was sent to a worker.
    pub fn proof(&self, dispatch: DispatchId, worker: WorkerId) -> String {
        text_of(hmac::sign(&self.ticket, &message(dispatch, worker)).as_ref())
    }

    /// Whether that is the proof.
    pub fn is_proof(&self, dispatch: DispatchId, worker: WorkerId, proof: &str) -> bool {
        let Some(bytes) = bytes_of(proof) else { return false };
        hmac::verify(&self.ticket, &message(dispatch, worker), &bytes).is_ok()
    }

    /// That a worker has registered under this id: it shows this with all that it says through the broker.
    pub fn worker(&self, worker: WorkerId) -> String {
        text_of(hmac::sign(&self.worker, worker.0.as_bytes()).as_ref())
    }

    /// Whether that is a worker's own proof.
    pub fn is_worker(&self, worker: WorkerId, proof: &str) -> bool {
        let Some(bytes) = bytes_of(proof) else { return false };
        hmac::verify(&self.worker, worker.0.as_bytes(), &bytes).is_ok()
    }

    /// The token with which a worker asks for what belongs to a dispatch.
    pub fn attempt(&self, dispatch: DispatchId, worker: WorkerId) -> String {
        let mac = hmac::sign(&self.attempt, &message(dispatch, worker));
        sealed(Kind::Attempt, &format!("{dispatch}.{worker}.{}", text_of(mac.as_ref())))
    }

    /// What a token stands for, if we made it.
    pub fn open_attempt(&self, token: &str) -> Option<(DispatchId, WorkerId)> {
        let mut parts = open(Kind::Attempt, token)?.split('.');
        let dispatch: DispatchId = parts.next()?.parse().ok()?;
        let worker: WorkerId = parts.next()?.parse().ok()?;
        let mac = bytes_of(parts.next()?)?;
        hmac::verify(&self.attempt, &message(dispatch, worker), &mac).ok()?;
        parts.next().is_none().then_some((dispatch, worker))
    }

    /// That a pod was made for a member of a dispatch.
    pub fn pod_proof(&self, dispatch: DispatchId, member: u32) -> String {
        text_of(hmac::sign(&self.pod, &member_message(dispatch, member)).as_ref())
    }

    /// Whether that is the proof.
    pub fn is_pod_proof(&self, dispatch: DispatchId, member: u32, proof: &str) -> bool {
        let Some(bytes) = bytes_of(proof) else { return false };
        hmac::verify(&self.pod, &member_message(dispatch, member), &bytes).is_ok()
    }

    /// The token with which a pod asks for what belongs to the member that it claimed.
    pub fn pod_attempt(&self, attempt: PodAttempt) -> String {
        let PodAttempt { dispatch, member, claimant } = attempt;
        let mac = hmac::sign(&self.pod_attempt, &claimed_message(attempt));
        sealed(Kind::Attempt, &format!("{dispatch}.{member}.{claimant}.{}", text_of(mac.as_ref())))
    }

    /// What a pod's token stands for, if we made it.
    pub fn open_pod_attempt(&self, token: &str) -> Option<PodAttempt> {
        let mut parts = open(Kind::Attempt, token)?.split('.');
        let attempt = PodAttempt {
            dispatch: parts.next()?.parse().ok()?,
            member: parts.next()?.parse().ok()?,
            claimant: parts.next()?.parse().ok()?,
        };
        let mac = bytes_of(parts.next()?)?;
        hmac::verify(&self.pod_attempt, &claimed_message(attempt), &mac).ok()?;
        parts.next().is_none().then_some(attempt)
    }
}

fn message(dispatch: DispatchId, worker: WorkerId) -> Vec<u8> {
    let mut message = dispatch.attempt.0.as_bytes().to_vec();
    message.extend(dispatch.n.to_be_bytes());
    message.extend(worker.0.as_bytes());
    message
}

fn member_message(dispatch: DispatchId, member: u32) -> Vec<u8> {
    let mut message = dispatch.attempt.0.as_bytes().to_vec();
    message.extend(dispatch.n.to_be_bytes());
    message.extend(member.to_be_bytes());
    message
}

fn claimed_message(PodAttempt { dispatch, member, claimant }: PodAttempt) -> Vec<u8> {
    let mut message = member_message(dispatch, member);
    message.extend(claimant.as_bytes());
    message
}

/// 32 bytes as 43 characters.
fn text_of(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use dags::ids::AttemptId;
    use proptest::prelude::*;

    use super::*;

    fn ids(n: u128) -> (DispatchId, WorkerId) {
        let text = format!("00000000-0000-8000-8000-{n:012}");
        let attempt: AttemptId = text.parse().unwrap();
        (DispatchId { attempt, n: 3 }, text.parse().unwrap())
    }

    #[test]
    fn a_token_is_of_its_kind_and_whole() {
        let token = random(Kind::Worker).unwrap();
        assert_eq!(token.len(), "updraft_worker_".len() + 43 + 1 + 6);
        let (hash, prefix) = stored(Kind::Worker, &token).unwrap();
        assert_eq!((hash.len(), prefix.len()), (32, 8));
        assert!(token["updraft_worker_".len()..].starts_with(&prefix));
        assert_eq!(stored(Kind::Enrolment, &token), None);
        for end in 0..token.len() {
            assert_eq!(stored(Kind::Worker, &token[..end]), None);
        }
        assert_ne!(random(Kind::Worker).unwrap(), token);
    }

    #[test]
    fn a_proof_holds_for_one_dispatch_on_one_worker() {
        let keys = Keys::new(&[7; 32]);
        let ((one, worker), (two, other)) = (ids(1), ids(2));
        let proof = keys.proof(one, worker);
        assert!(keys.is_proof(one, worker, &proof));
        for (dispatch, worker) in [(two, worker), (one, other), (DispatchId { n: 4, ..one }, worker)] {
            assert!(!keys.is_proof(dispatch, worker, &proof));
        }
        assert!(!keys.is_proof(one, worker, "") && !keys.is_proof(one, worker, "_"));
        assert!(!Keys::new(&[8; 32]).is_proof(one, worker, &proof));
        let token = keys.attempt(one, worker);
        assert_eq!(keys.open_attempt(&token), Some((one, worker)));
        assert_eq!(Keys::new(&[8; 32]).open_attempt(&token), None);
        assert_eq!(keys.open_attempt(&sealed(Kind::Attempt, &format!("{one}.{worker}.{proof}"))), None);
        assert!(!format!("{keys:?}").contains('7'));
    }

    #[test]
    fn a_pod_opens_its_own_member_only() {
        let keys = Keys::new(&[7; 32]);
        let ((dispatch, worker), (other, _)) = (ids(1), ids(2));
        let proof = keys.pod_proof(dispatch, 1);
        assert!(keys.is_pod_proof(dispatch, 1, &proof));
        for (dispatch, member) in [(other, 1), (dispatch, 0), (DispatchId { n: 4, ..dispatch }, 1)] {
            assert!(!keys.is_pod_proof(dispatch, member, &proof));
        }
        let attempt = PodAttempt { dispatch, member: 1, claimant: Uuid::from_u128(9) };
        let token = keys.pod_attempt(attempt);
        assert_eq!(keys.open_pod_attempt(&token), Some(attempt));
        assert_eq!(Keys::new(&[8; 32]).open_pod_attempt(&token), None);
        // Neither kind of token passes for the other.
        assert_eq!(keys.open_attempt(&token), None);
        assert_eq!(keys.open_pod_attempt(&keys.attempt(dispatch, worker)), None);
    }

    #[test]
    fn a_worker_speaks_for_itself_only() {
        let keys = Keys::new(&[7; 32]);
        let ((dispatch, worker), (_, other)) = (ids(1), ids(2));
        let proof = keys.worker(worker);
        assert!(keys.is_worker(worker, &proof));
        assert!(!keys.is_worker(other, &proof) && !keys.is_worker(worker, ""));
        assert!(!keys.is_worker(worker, &keys.proof(dispatch, worker)));
        assert!(!Keys::new(&[8; 32]).is_worker(worker, &proof));
    }

    proptest! {
        #[test]
        fn bytes_survive_their_text(bytes in any::<[u8; 32]>()) {
            let text = text_of(&bytes);
            prop_assert_eq!(text.len(), 43);
            prop_assert_eq!(bytes_of(&text).unwrap(), bytes);
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let keys = Keys::new(&[7; 32]);
            prop_assert_eq!(keys.open_attempt(&text), None);
            prop_assert_eq!(stored(Kind::Worker, &text), None);
        }
    }
}
