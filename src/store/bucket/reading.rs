//! What comes out of the bucket.

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use futures::StreamExt;
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::{GetOptions, GetRange, GetResult, ObjectStore};

use crate::model::Key;
use crate::store::bucket::failure::{
    failed_listing, is_not_found, is_past_the_end, is_wordless, refused, unavailable,
};
use crate::store::{Bytes, Found, S3Bucket, StoreError, Version, Walk};

/// Most objects that a bucket shows at once.
const PAGE: usize = 1_000;

impl S3Bucket {
    /// The object without its bytes: its size, its label, and when it was put.
    pub(crate) fn look(&self, key: &Key) -> Result<GetResult, StoreError> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let path = self.path(key);
        let head = self.connection.reads.get_opts(&path, options);
        match self.wait(key.as_str(), self.options.deadline, head)? {
            Ok(found) => {
                self.note_answer();
                Ok(found)
            }
            // Where the bucket has answered before it is there, and the object is not.
            Err(err) if is_not_found(&err) && self.has_answered() => {
                Err(StoreError::Missing { key: key.clone() })
            }
            // This kind of answer has no body, and what is missing may be the object or the bucket.
            Err(err) if is_wordless(&err) => {
                let first_byte = Some(GetRange::Bounded(0..1));
                match self.try_get(key, first_byte)? {
                    Ok(found) => Ok(found),
                    // A range of an empty object.
                    Err(err) if is_past_the_end(&err) => self.begin_get(key, None),
                    Err(err) => Err(self.failed(key, &err)),
                }
            }
            Err(err) => Err(self.failed(key, &err)),
        }
    }

    /// [`Bucket::stream_range`](crate::store::Bucket::stream_range).
    pub(crate) fn stream(
        &self,
        key: &Key,
        range: Range<u64>,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        if range.is_empty() {
            return self.look(key).map(|_| ());
        }
        // There are no larger numbers on the other side.
        let wanted = if range.end <= i64::MAX.cast_unsigned() {
            GetRange::Bounded(range)
        } else {
            GetRange::Offset(range.start)
        };
        match self.try_get(key, Some(wanted))? {
            Ok(answer) => self.drain(key, answer, sink),
            Err(err) if is_past_the_end(&err) => Ok(()),
            Err(err) => Err(self.failed(key, &err)),
        }
    }

    /// A small object with its version.
    pub(crate) fn whole(&self, key: &Key) -> Result<(Bytes, Version), StoreError> {
        let answer = self.begin_get(key, None)?;
        let Some(tag) = answer.meta.e_tag.clone() else {
            return Err(refused(key.as_str(), "the bucket returns no versions"));
        };
        let mut bytes = Vec::new();
        self.drain(key, answer, &mut |piece| {
            bytes.extend_from_slice(&piece);
            ControlFlow::Continue(())
        })?;
        Ok((bytes.into(), Version(tag)))
    }

    fn begin_get(&self, key: &Key, range: Option<GetRange>) -> Result<GetResult, StoreError> {
        self.try_get(key, range)?.map_err(|err| self.failed(key, &err))
    }

    fn try_get(
        &self,
        key: &Key,
        range: Option<GetRange>,
    ) -> Result<object_store::Result<GetResult>, StoreError> {
        let path = self.path(key);
        let get =
            self.connection.reads.get_opts(&path, GetOptions { range, ..GetOptions::default() });
        let answer = self.wait(key.as_str(), self.options.deadline, get)?;
        Ok(answer.inspect(|_| self.note_answer()))
    }

    /// Passes an answer's body on as it arrives.
    fn drain(
        &self,
        key: &Key,
        answer: GetResult,
        sink: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let promised = answer.range.end - answer.range.start;
        let (began, longest) = (Instant::now(), self.options.deadline_of(promised));
        let mut body = answer.into_stream();
        let mut arrived = 0;
        loop {
            let left = longest.saturating_sub(began.elapsed()).min(self.options.longest_silence);
            let Some(piece) = self.wait(key.as_str(), left, body.next())? else { break };
            let piece = piece.map_err(|err| self.failed(key, &err))?;
            arrived += piece.len() as u64;
            if sink(piece).is_break() {
                return Ok(());
            }
            if longest < began.elapsed() {
                return Err(unavailable(key.as_str(), "the bytes arrive too slowly"));
            }
        }
        if arrived != promised {
            let words = format!("{arrived} of {promised} bytes arrived");
            return Err(unavailable(key.as_str(), words));
        }
        Ok(())
    }

    /// What is listed below `prefix` and behind `after`, at most `limit` of our own.
    pub(crate) fn pages(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        let mut token = None;
        while found.len() < limit {
            // Where the first names were none of ours, small pages would take many requests.
            let asked = if token.is_none() { limit } else { PAGE };
            let page = self.page(prefix, after, asked, token)?;
            let mut foreign = Vec::new();
            for object in page.result.objects {
                match self.root.key_of(&object.location, prefix) {
                    Some(key) => found.push(Found { key, bytes: object.size }),
                    None => foreign.push(object.location.to_string()),
                }
            }
            self.connection.foreign.note(foreign);
            token = page.page_token;
            if token.is_none() {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// All objects of our own, a page at a time.
    pub(crate) fn walk_pages(&self) -> Walk<'_> {
        let mut after = Some(String::new());
        let pages = std::iter::from_fn(move || {
            let page = self.pages("", after.as_ref()?, PAGE);
            let last = page.as_ref().ok().filter(|page| page.len() == PAGE);
            after = last.and_then(|page| Some(page.last()?.key.to_string()));
            Some(page)
        });
        Box::new(pages.flat_map(|page| match page {
            Ok(found) => found.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(err) => vec![Err(err)],
        }))
    }

    fn page(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
        token: Option<String>,
    ) -> Result<PaginatedListResult, StoreError> {
        let options = PaginatedListOptions {
            offset: (!after.is_empty()).then(|| self.root.spelled(after)),
            max_keys: Some(limit.min(PAGE)),
            page_token: token,
            ..PaginatedListOptions::default()
        };
        let below = self.root.spelled(prefix);
        let list = self
            .connection
            .reads
            .list_paginated((!below.is_empty()).then_some(below.as_str()), options);
        let answer = self.wait(prefix, self.options.deadline, list)?;
        answer.inspect(|_| self.note_answer()).map_err(|err| failed_listing(prefix, &err))
    }
}
