//! Takes back what publications that were cut off have put into the store. Done again, a recording may get other keys,
//! because its conversation has another name by then or is in the trash: what lies at the first ones would be a second
//! copy of it.

use crate::index::{Claim, Index, IndexError};
use crate::model::causes;
use crate::publishing::stores::StoresError;
use crate::publishing::{claim, page_lock};
use crate::store::{Store, StoreError};

/// Removes what publications that were cut off have left in the store. For whoever starts, or has no mount.
pub fn take_back_claims(store: &dyn Store, index: &Index) -> Result<(), IndexError> {
    if index.claims()?.is_empty() {
        return Ok(());
    }
    let _alone = page_lock::lock();
    take_back_all(store, index)
}

/// Everything that is claimed, for whoever is alone. What cannot be removed now is left for the next one.
///
/// # Errors
/// After a failed commit, which may be on disk all the same: what is claimed may be a recording that the next start
/// finds in the index, and is left to it.
pub(crate) fn take_back_all(store: &dyn Store, index: &Index) -> Result<(), IndexError> {
    let claims = index.claims()?;
    if claims.is_empty() {
        return Ok(());
    }
    index.is_writable()?;
    for claim in claims {
        match take_back(store, index, &claim) {
            Err(StoresError::Index(err)) => return Err(err),
            Err(err) => {
                log::warn!("files of an interrupted publication stay for now");
                log::debug!("{}: stays for now: {}", claim.audio.key, causes(&err));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

fn take_back(store: &dyn Store, index: &Index, claim: &Claim) -> Result<(), StoresError> {
    if is_left_over(store, index, claim)? {
        log::info!("files left over from an interrupted publication are removed");
        log::debug!("{}: removed, left over from an interrupted publication", claim.audio.key);
        // The audio last: it shows that the pages are of this publication.
        for key in &claim.new {
            store.delete(key)?;
            fail_point!("claim-taken-back");
        }
    }
    Ok(index.release_claim(&claim.audio.key)?)
}

/// Whether what lies there is of that publication: no recording has these keys, and the audio has its bytes.
fn is_left_over(store: &dyn Store, index: &Index, claim: &Claim) -> Result<bool, StoresError> {
    let is_filed = index.filed_recording_at(&claim.audio.key)?.is_some();
    Ok(!is_filed && is_ours(store, claim)?)
}

fn is_ours(store: &dyn Store, claim: &Claim) -> Result<bool, StoreError> {
    Ok(claim::is_same(store, &claim.audio)? && !claim::is_of_another(store, &claim.audio)?)
}
