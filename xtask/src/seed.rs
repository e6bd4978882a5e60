// SPDX-License-Identifier: MIT OR Apache-2.0

//! The seed of a run: the order in which its cells start, and the cells that `test` runs from both starts.
//! No order of cells may change a result, so each tree is tried in another, and the same tree in the same.

/// The seed that a guest's image makes, by its hash: another for each change of a scenario or of the driver.
pub fn of_image(hash: &str) -> u64 {
    u64::from_str_radix(hash.get(..8).unwrap_or_default(), 16).unwrap_or_default()
}

/// Orders things by a seed: each thing goes where the hash of its name puts it.
pub fn order<T>(things: &mut [T], seed: u64, name: impl Fn(&T) -> String) {
    things.sort_by_cached_key(|thing| rank(seed, &name(thing)));
}

fn rank(seed: u64, name: &str) -> [u8; 32] {
    *blake3::hash(format!("{seed} {name}").as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_order_and_another_seed_another() {
        let ordered = |seed| {
            let mut things: Vec<u32> = (0..16).collect();
            order(&mut things, seed, u32::to_string);
            things
        };
        assert_eq!(ordered(7), ordered(7));
        assert_ne!(ordered(7), ordered(8));
        assert_ne!(ordered(7), (0..16).collect::<Vec<u32>>());
    }

    #[test]
    fn an_image_names_its_seed() {
        assert_eq!(of_image("0000002a99887766"), 42);
        assert_ne!(of_image("5d1d3c00aa"), of_image("5d1d3c01aa"));
    }
}
