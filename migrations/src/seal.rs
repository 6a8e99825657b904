//! How secrets are kept: sealed, with a key per tenant that the master key wraps.
//!
//! The master key (32 bytes) lies in a file of mode 0600 and is never in the database. Each tenant has data keys with
//! versions, random, stored wrapped. A sealed value is the **envelope**:
//!
//! ```text
//! byte 0      format, 1
//! byte 1      algorithm, 1 = XChaCha20-Poly1305
//! bytes 2-5   version of the tenant's key, big endian (0 in a wrapped key: the master key)
//! bytes 6-29  nonce, random
//! rest        ciphertext and tag
//! ```
//!
//! Associated data binds a value to its place: label, tenant, kind, name, field and secret version, each with its length
//! in front. A value that is moved to another row, field, tenant or back to an older version doesn't open.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
};

use chacha20poly1305::{
    Key, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Generate as _, KeyInit as _, Payload},
};
use dags::ids::TenantId;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    sea_query::OnConflict,
};
use zeroize::Zeroizing;

use crate::{
    db::Db,
    entity::tenant_key,
    error::{Doing as _, Error},
    scope::TenantScope,
};

const FORMAT: u8 = 1;
const ALGORITHM: u8 = 1;
const HEADER_BYTES: usize = 30;
const NONCE_BYTES: usize = 24;
/// The version that stands for the master key.
const MASTER: u32 = 0;

/// Why a secret can't be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file can't be read or made.
    #[error("can't read or make the master key file {path:?}")]
    KeyFile {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others may read the key file.
    #[error("the master key file {path:?} has mode {mode:o}: others may read it; run `chmod 600` on it")]
    KeyFileMode {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// The key file isn't 64 hexadecimal digits.
    #[error("the master key file {path:?} must hold 64 hexadecimal digits and nothing else")]
    KeyFileContent {
        /// The file.
        path: String,
    },
    /// A sealed value of a format that we don't know.
    #[error(
        "{place} is sealed in format {format} with algorithm {algorithm}, this release reads format 1, algorithm 1"
    )]
    Format {
        /// What was to be opened.
        place: String,
        /// The format's number.
        format: u8,
        /// The algorithm's number.
        algorithm: u8,
    },
    /// The value was changed or moved, or the key is another one.
    #[error(
        "{place} can't be opened: it was changed or moved, or the master key isn't the one that it was sealed under"
    )]
    Refused {
        /// What was to be opened.
        place: String,
    },
    /// The tenant's key is gone.
    #[error(
        "version {version} of the key of tenant {tenant} isn't there, so what it sealed can't be opened: set the secret again"
    )]
    NoKey {
        /// The tenant.
        tenant: TenantId,
        /// The version.
        version: u32,
    },
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
}

/// The key that wraps every tenant's keys.
#[derive(Clone)]
pub struct MasterKey(Arc<Zeroizing<[u8; 32]>>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

impl MasterKey {
    /// Reads the key from a file of mode 0600 that holds 64 hexadecimal digits.
    pub fn load(path: &Path) -> Result<Self, SealError> {
        let shown = || path.display().to_string();
        let failed = |source| SealError::KeyFile { path: shown(), source };
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SealError::KeyFileMode { path: shown(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(failed)?;
        let key = digits(text.trim()).ok_or_else(|| SealError::KeyFileContent { path: shown() })?;
        Ok(Self(Arc::new(key)))
    }

    /// Reads the key, or makes it if there is no file: for a single node only. Further nodes are given the file.
    pub fn load_or_create(path: &Path) -> Result<Self, SealError> {
        let shown = || path.display().to_string();
        let failed = |source| SealError::KeyFile { path: shown(), source };
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                let key = random()?;
                let mut text = Zeroizing::new(String::with_capacity(65));
                for byte in key.iter() {
                    write!(text, "{byte:02x}").expect("invariant: writing to a String can't fail");
                }
                text.push('\n');
                file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
                Ok(Self(Arc::new(key)))
            }
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => Self::load(path),
            Err(why) => Err(failed(why)),
        }
    }
}

impl MasterKey {
    /// A key for one purpose that says nothing about this one: the label's MAC under it.
    pub fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.0.as_slice());
        let mut derived = Zeroizing::new([0; 32]);
        derived.copy_from_slice(ring::hmac::sign(&key, label.as_bytes()).as_ref());
        derived
    }
}

fn digits(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (n, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(key)
}

fn random() -> Result<Zeroizing<[u8; 32]>, SealError> {
    let key = Key::try_generate().map_err(|_| SealError::Random)?;
    Ok(Zeroizing::new(key.into()))
}

/// Where a secret belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// `variable` or `connection`.
    pub kind: &'a str,
    /// The name of the row.
    pub name: &'a str,
    /// The field.
    pub field: &'a str,
    /// Grows each time that the secret is set.
    pub secret_version: u32,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} {:?}", self.field, self.kind, self.name)
    }
}

/// Seals and opens the secrets of tenants.
#[derive(Debug, Clone)]
pub struct Sealer {
    master: MasterKey,
}

impl Sealer {
    /// A sealer under that master key.
    pub const fn new(master: MasterKey) -> Self {
        Self { master }
    }

    /// Seals a value with the tenant's newest key, which is made if the tenant has none.
    pub async fn seal(
        &self,
        db: &Db,
        scope: TenantScope,
        place: Place<'_>,
        plain: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let (version, key) = self.newest_key(db, scope).await?;
        Ok(encrypt(&key, version, &place_data(scope.tenant(), place), plain)?)
    }

    /// Opens a value. The plain text is wiped when it is dropped.
    pub async fn open(
        &self,
        db: &Db,
        scope: TenantScope,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let shown = place.to_string();
        let version = key_version(sealed, &shown)?;
        let key = self.key(db, scope, version).await?;
        Ok(decrypt(&key, &place_data(scope.tenant(), place), sealed, &shown)?)
    }

    /// Whether the master key opens the keys of every tenant; the first that it doesn't open is the error.
    pub async fn check(&self, db: &Db) -> Result<(), Error> {
        for row in keys_of_all(db).await? {
            self.unwrap(TenantId(row.tenant_id), &row)?;
        }
        Ok(())
    }

    /// Deletes the keys that the master key doesn't open, after a master key was lost: what was sealed under them is lost
    /// for good and can be set anew. Says how many there were.
    pub async fn forget_foreign(&self, db: &Db) -> Result<u64, Error> {
        let mut forgotten = 0;
        for row in keys_of_all(db).await? {
            if self.unwrap(TenantId(row.tenant_id), &row).is_err() {
                let key = (row.tenant_id, row.version);
                let done = tenant_key::Entity::delete_by_id(key).exec(db.write()).await;
                forgotten += done.doing("delete a tenant's key")?.rows_affected;
            }
        }
        Ok(forgotten)
    }

    async fn key(&self, db: &Db, scope: TenantScope, version: u32) -> Result<Zeroizing<[u8; 32]>, Error> {
        let tenant = scope.tenant();
        let found = tenant_key::Entity::find_by_id((tenant.0, version as i32)).one(db.read()).await;
        let found = found.doing("read a tenant's key")?.ok_or(SealError::NoKey { tenant, version })?;
        Ok(self.unwrap(tenant, &found)?)
    }

    async fn newest_key(&self, db: &Db, scope: TenantScope) -> Result<(u32, Zeroizing<[u8; 32]>), Error> {
        let doing = "read a tenant's key";
        let tenant = scope.tenant();
        let newest = tenant_key::Entity::find()
            .filter(tenant_key::Column::TenantId.eq(tenant.0))
            .order_by_desc(tenant_key::Column::Version);
        if let Some(found) = newest.clone().one(db.write()).await.doing(doing)? {
            return Ok((found.version as u32, self.unwrap(tenant, &found)?));
        }
        let key = random()?;
        let wrapped = encrypt(&self.master.0, MASTER, &key_data(tenant, 1), key.as_slice())?;
        tenant_key::Entity::insert(tenant_key::ActiveModel {
            tenant_id: Set(tenant.0),
            version: Set(1),
            wrapped: Set(wrapped),
            created_at: Set(db.now().await?.0),
        })
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(db.write())
        .await
        .doing("store a tenant's key")?;
        // Somebody else may have been first: theirs is the one that is there.
        let found =
            newest.one(db.write()).await.doing(doing)?.ok_or(SealError::NoKey { tenant, version: 1 })?;
        Ok((found.version as u32, self.unwrap(tenant, &found)?))
    }

    fn unwrap(&self, tenant: TenantId, row: &tenant_key::Model) -> Result<Zeroizing<[u8; 32]>, SealError> {
        let shown = format!("version {} of the key of tenant {tenant}", row.version);
        let plain = decrypt(&self.master.0, &key_data(tenant, row.version as u32), &row.wrapped, &shown)?;
        let mut key = Zeroizing::new([0; 32]);
        if plain.len() != key.len() {
            return Err(SealError::Refused { place: shown });
        }
        key.copy_from_slice(&plain);
        Ok(key)
    }
}

/// The keys of all tenants: the master key is the installation's.
async fn keys_of_all(db: &Db) -> Result<Vec<tenant_key::Model>, Error> {
    let all = tenant_key::Entity::find()
        .order_by_asc(tenant_key::Column::TenantId)
        .order_by_asc(tenant_key::Column::Version);
    all.all(db.read()).await.doing("read the tenants' keys")
}

fn encrypt(key: &[u8; 32], version: u32, data: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let nonce = XNonce::try_generate().map_err(|_| SealError::Random)?;
    let cipher = XChaCha20Poly1305::new(key.into());
    let ciphertext = cipher.encrypt(&nonce, Payload { msg: plain, aad: data });
    let ciphertext =
        ciphertext.expect("invariant: a secret is far shorter than the cipher's limit of 256 GiB");
    let mut sealed = Vec::with_capacity(HEADER_BYTES + ciphertext.len());
    sealed.extend([FORMAT, ALGORITHM]);
    sealed.extend(version.to_be_bytes());
    sealed.extend_from_slice(&nonce);
    sealed.extend(ciphertext);
    Ok(sealed)
}

fn key_version(sealed: &[u8], place: &str) -> Result<u32, SealError> {
    let (&format, &algorithm) = match sealed {
        [format, algorithm, ..] if sealed.len() >= HEADER_BYTES => (format, algorithm),
        _ => return Err(SealError::Refused { place: place.to_owned() }),
    };
    if (format, algorithm) != (FORMAT, ALGORITHM) {
        return Err(SealError::Format { place: place.to_owned(), format, algorithm });
    }
    Ok(u32::from_be_bytes([sealed[2], sealed[3], sealed[4], sealed[5]]))
}

fn decrypt(key: &[u8; 32], data: &[u8], sealed: &[u8], place: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
    key_version(sealed, place)?;
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&sealed[HEADER_BYTES - NONCE_BYTES..HEADER_BYTES]);
    let cipher = XChaCha20Poly1305::new(key.into());
    let plain = cipher.decrypt(&XNonce::from(nonce), Payload { msg: &sealed[HEADER_BYTES..], aad: data });
    plain.map(Zeroizing::new).map_err(|_| SealError::Refused { place: place.to_owned() })
}

/// Parts with their lengths in front, so that no two lists collide.
fn parts(parts: &[&[u8]]) -> Vec<u8> {
    let mut data = Vec::new();
    for part in parts {
        data.extend((part.len() as u64).to_be_bytes());
        data.extend_from_slice(part);
    }
    data
}

fn place_data(tenant: TenantId, place: Place<'_>) -> Vec<u8> {
    let version = place.secret_version.to_be_bytes();
    let Place { kind, name, field, .. } = place;
    parts(&[
        b"updraft secret 1",
        tenant.0.as_bytes(),
        kind.as_bytes(),
        name.as_bytes(),
        field.as_bytes(),
        &version,
    ])
}

fn key_data(tenant: TenantId, version: u32) -> Vec<u8> {
    parts(&[b"updraft tenant key 1", tenant.0.as_bytes(), &version.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { kind: "variable", name: "n", field: "value", secret_version: 1 };

    #[test]
    fn a_sealed_value_opens_only_where_it_belongs() {
        let key = random().unwrap();
        let data = place_data(TenantId::DEFAULT, PLACE);
        let sealed = encrypt(&key, 1, &data, b"hunter2").unwrap();
        assert_eq!(decrypt(&key, &data, &sealed, "it").unwrap().as_slice(), b"hunter2");
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        let other_tenant = TenantId(dags::ids::ShardId::DEFAULT.0);
        for data in [
            place_data(other_tenant, PLACE),
            place_data(TenantId::DEFAULT, Place { kind: "connection", ..PLACE }),
            place_data(TenantId::DEFAULT, Place { name: "m", ..PLACE }),
            place_data(TenantId::DEFAULT, Place { field: "extra", ..PLACE }),
            place_data(TenantId::DEFAULT, Place { secret_version: 2, ..PLACE }),
        ] {
            assert!(matches!(decrypt(&key, &data, &sealed, "it"), Err(SealError::Refused { .. })));
        }
        assert!(matches!(decrypt(&random().unwrap(), &data, &sealed, "it"), Err(SealError::Refused { .. })));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let key = random().unwrap();
        let data = place_data(TenantId::DEFAULT, PLACE);
        let sealed = encrypt(&key, 1, &data, b"hunter2").unwrap();
        for n in (0..sealed.len()).filter(|n| !(2..6).contains(n)) {
            let mut changed = sealed.clone();
            changed[n] ^= 1;
            assert!(decrypt(&key, &data, &changed, "it").is_err(), "byte {n}");
        }
        for len in 0..sealed.len() {
            assert!(decrypt(&key, &data, &sealed[..len], "it").is_err(), "{len} bytes");
        }
    }

    #[test]
    fn the_key_file_is_private_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        assert!(matches!(MasterKey::load(&path), Err(SealError::KeyFile { .. })));
        let made = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKey::load_or_create(&path).unwrap().0, made.0);
        assert!(!format!("{made:?}").contains(&std::fs::read_to_string(&path).unwrap()[..64]));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(MasterKey::load(&path), Err(SealError::KeyFileMode { mode: 0o644, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(MasterKey::load(&path), Err(SealError::KeyFileContent { .. })));
    }
}
