//! Reads tensors from a safetensors file: a length, a JSON header, and the numbers.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A whole file in memory, header checked against its length on each look.
#[derive(Debug)]
pub(crate) struct Weights {
    tensors: BTreeMap<String, Tensor>,
    numbers: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl Weights {
    /// Takes a file apart; the error says what is wrong with it.
    pub(crate) fn parse(mut file: Vec<u8>) -> Result<Self, String> {
        let broken = || "not a safetensors file".to_owned();
        let (length, rest) = file.split_first_chunk::<8>().ok_or_else(broken)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| broken())?;
        let header = rest.get(..length).ok_or_else(broken)?;
        let header: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(header).map_err(|err| format!("{}: {err}", broken()))?;
        let mut tensors = BTreeMap::new();
        for (name, entry) in header {
            if name != "__metadata__" {
                let tensor = serde_json::from_value(entry);
                tensors.insert(name, tensor.map_err(|err| format!("{}: {err}", broken()))?);
            }
        }
        let numbers = file.split_off(8 + length);
        Ok(Self { tensors, numbers })
    }

    /// The values of the tensor `name`, row by row. It must have this shape.
    pub(crate) fn values(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<impl Iterator<Item = f64> + '_, String> {
        let tensor = self.tensors.get(name).ok_or_else(|| format!("no tensor `{name}`"))?;
        if tensor.shape != shape {
            return Err(format!("tensor `{name}` is {:?}, not {shape:?}", tensor.shape));
        }
        let read: fn(&[u8]) -> f64 = match tensor.dtype.as_str() {
            "F32" => {
                |bytes| bytes.try_into().map_or(f64::NAN, |raw| f32::from_le_bytes(raw).into())
            }
            "F64" => |bytes| bytes.try_into().map_or(f64::NAN, f64::from_le_bytes),
            other => return Err(format!("tensor `{name}` has numbers of kind {other}")),
        };
        let width = if tensor.dtype == "F32" { 4 } else { 8 };
        let [from, to] = tensor.data_offsets;
        let bytes = self.numbers.get(from..to).unwrap_or_default();
        let count = shape.iter().try_fold(width, |all: usize, side| all.checked_mul(*side));
        if count != Some(bytes.len()) {
            return Err(format!("tensor `{name}` is cut off"));
        }
        Ok(bytes.chunks_exact(width).map(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, numbers: &[u8]) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(numbers);
        file
    }

    #[test]
    fn tensors_are_read_in_both_widths() {
        let header = r#"{"__metadata__":{"note":"x"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]},
            "b":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#;
        let mut numbers = 7.5_f64.to_le_bytes().to_vec();
        numbers.extend([1.5_f32, 2.0].map(f32::to_le_bytes).as_flattened());
        let weights = Weights::parse(file(header, &numbers)).unwrap();
        assert_eq!(weights.values("a", &[1, 2]).unwrap().collect::<Vec<_>>(), [1.5, 2.0]);
        assert_eq!(weights.values("b", &[1]).unwrap().collect::<Vec<_>>(), [7.5]);
        assert!(weights.values("a", &[2, 1]).is_err());
        assert!(weights.values("c", &[1]).is_err());
    }

    #[test]
    fn a_broken_file_is_refused_without_reading_past_its_end() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let whole = file(header, &[0; 8]);
        for length in 0..whole.len() {
            let cut = Weights::parse(whole[..length].to_vec());
            assert!(cut.is_err() || cut.is_ok_and(|cut| cut.values("a", &[2]).is_err()));
        }
        assert!(Weights::parse(vec![0xff; 20]).is_err());
        let huge = r#"{"a":{"dtype":"F64","shape":[9223372036854775807,9],"data_offsets":[0,8]}}"#;
        let huge = Weights::parse(file(huge, &[0; 8])).unwrap();
        assert!(huge.values("a", &[usize::MAX >> 1, 9]).is_err());
    }
}
