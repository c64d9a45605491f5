//! The number that makes a name free, found with few looks however many are taken.

use crate::index::IndexError;

/// Calls `free` with numbers from 1 on, in growing steps and then between the last two, until it has something for
/// one and nothing for the one before; what it had. `None`: all numbers are taken.
pub(crate) fn first_free<T>(
    free: &dyn Fn(u32) -> Result<Option<T>, IndexError>,
) -> Result<Option<T>, IndexError> {
    if let Some(first) = free(1)? {
        return Ok(Some(first));
    }
    let (mut taken, mut step) = (1_u32, 1);
    let (mut found, mut name) = loop {
        let Some(number) = taken.checked_add(step) else { return Ok(None) };
        match free(number)? {
            Some(name) => break (number, name),
            None => (taken, step) = (number, step.saturating_mul(2)),
        }
    };
    while taken + 1 < found {
        let middle = taken + (found - taken) / 2;
        match free(middle)? {
            Some(free) => (found, name) = (middle, free),
            None => taken = middle,
        }
    }
    Ok(Some(name))
}
