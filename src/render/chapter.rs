//! [`Chapter`]: all that a page is made of.

use crate::model::{Conversation, Recipe, Recording, Talk};

/// A recording and what was said in it: all that a page is made of.
#[derive(Debug, Clone, Copy)]
pub struct Chapter<'a> {
    pub conversation: &'a Conversation,
    pub recording: &'a Recording,
    pub recipe: &'a Recipe,
    pub talk: &'a Talk,
}
