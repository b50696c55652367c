//! Tokens: name, hash and scopes. The secret itself is not stored.

use crate::batch::Batch;
use crate::commit::TokenRow;
use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::resource::{Refusal, not_found};
use crate::row::{self, Row};
use crate::tables::{TOKEN, TOKEN_BY_HASH};
use ostler_model::{Resource, ResourceKind, ResourceRefused};
use redb::ReadableTable;

impl Row for TokenRow {
    const TABLE: &'static str = "token";
}

impl Batch<'_> {
    fn token(&mut self, name: &str) -> Result<Option<TokenRow>, ReadError> {
        let kept = self.cold()?.token.get(name).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), name)).transpose()?)
    }

    /// A token is never replaced, because somebody has the secret of the existing one.
    pub(crate) fn token_put_refused(&mut self, token: &TokenRow) -> Refusal {
        if self.token(&token.name)?.is_some_and(|old| old != *token) {
            return Ok(Some(ResourceRefused::NameTaken {
                kind: ResourceKind::Token,
                name: token.name.clone(),
            }));
        }
        let owner = self.cold()?.token_by_hash.get(token.hash_hex.as_str()).map_err(Fault::from)?;
        match owner.filter(|owner| owner.value() != token.name) {
            Some(owner) => Ok(Some(ResourceRefused::NameTaken {
                kind: ResourceKind::Token,
                name: owner.value().to_owned(),
            })),
            None => Ok(None),
        }
    }

    pub(crate) fn token_remove_refused(&mut self, name: &str) -> Refusal {
        if self.token(name)?.is_none() {
            not_found(Resource::Token(name.to_owned()))
        } else {
            Ok(None)
        }
    }

    pub(crate) fn token_put(&mut self, token: &TokenRow) -> Result<(), ReadError> {
        let old = self.token(&token.name)?;
        let kept = row::encode(token)?;
        let cold = self.cold()?;
        if let Some(old) = old {
            cold.token_by_hash.remove(old.hash_hex.as_str()).map_err(Fault::from)?;
        }
        cold.token.insert(token.name.as_str(), kept.as_slice()).map_err(Fault::from)?;
        cold.token_by_hash
            .insert(token.hash_hex.as_str(), token.name.as_str())
            .map_err(Fault::from)?;
        Ok(())
    }

    pub(crate) fn token_remove(&mut self, name: &str) -> Result<(), ReadError> {
        if let Some(old) = self.token(name)? {
            let cold = self.cold()?;
            cold.token.remove(name).map_err(Fault::from)?;
            cold.token_by_hash.remove(old.hash_hex.as_str()).map_err(Fault::from)?;
        }
        Ok(())
    }
}

impl Reader {
    /// A token by name.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn token(&self, name: &str) -> Result<Option<TokenRow>, ReadError> {
        let kept = self.table(TOKEN)?.get(name).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), name)).transpose()?)
    }

    /// A token by the hash of its secret. The caller, who knows the time, must check whether it has
    /// expired.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn token_by_hash(&self, hash_hex: &str) -> Result<Option<TokenRow>, ReadError> {
        match self.table(TOKEN_BY_HASH)?.get(hash_hex).map_err(Fault::from)? {
            Some(name) => self.token(name.value()),
            None => Ok(None),
        }
    }

    /// All tokens, by name.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn tokens(&self) -> Result<Vec<TokenRow>, ReadError> {
        let table = self.table(TOKEN)?;
        let mut found = Vec::new();
        for entry in ReadableTable::iter(&table).map_err(Fault::from)? {
            let (name, kept) = entry.map_err(Fault::from)?;
            found.push(row::decode(kept.value(), name.value())?);
        }
        Ok(found)
    }
}
