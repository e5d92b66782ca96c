use rand::SeedableRng;

use super::*;

/// Ways to lose power that are tried.
const SEEDS: u64 = 200;

fn random(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

#[test]
fn what_was_synced_stays_and_what_was_not_is_anything_between() {
    let synced = vec![1_u8; 10_000];
    let mut written = synced.clone();
    written.extend([2; 10_000]);
    let (mut lengths, mut loss) = (std::collections::BTreeSet::new(), Loss::default());
    for seed in 0..SEEDS {
        let disk = blocks::mix(&synced, &written, &mut random(seed), &mut loss);
        // The block in which the new bytes begin has old ones too, and those stay.
        assert_eq!(disk[..10_000], synced, "seed {seed}");
        lengths.insert(disk.len());
    }
    assert!(lengths.contains(&10_000) && lengths.contains(&20_000) && lengths.len() > 20, "{lengths:?}");
    assert!(loss.blocks_lost > loss.blocks / 10 && loss.blocks_lost < loss.blocks, "{loss:?}");
}

#[test]
fn what_is_as_synced_is_never_touched() {
    let bytes: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
    let mut changed = bytes.clone();
    changed[30_000] ^= 1;
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let mut loss = Loss::default();
        assert_eq!(blocks::mix(&bytes, &bytes, &mut random(seed), &mut loss), bytes);
        let disk = blocks::mix(&bytes, &changed, &mut random(seed), &mut loss);
        let differs: Vec<usize> = (0..bytes.len()).filter(|at| disk[*at] != bytes[*at]).collect();
        assert!(differs.is_empty() || differs == [30_000], "seed {seed}: {differs:?}");
        seen.insert(differs.len());
    }
    assert_eq!(seen.len(), 2, "both happen");
}

#[test]
fn a_name_is_as_synced_or_as_after_some_of_the_changes_since() {
    let mut disk = Disk::new(0).unwrap();
    let (state, platter) = (disk.state(), disk.platter());
    fs::write(state.join("kept"), b"synced").unwrap();
    settle(&state, &platter).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for count in 0..SEEDS {
        let note = |names: &[&str]| {
            let tree = Tree::read(&state).unwrap();
            let entries: Vec<Entry> = tree.entries(&tree.key(&state).unwrap()).unwrap();
            let names: Vec<Entry> =
                entries.into_iter().filter(|entry| names.contains(&&*entry.name)).collect();
            tree::sure(&names).replace("sure\n", "then\n")
        };
        fs::write(state.join("new"), b"never synced").unwrap();
        let mut record = note(&["kept", "new"]);
        fs::rename(state.join("new"), state.join("renamed")).unwrap();
        record.push_str(&note(&["kept", "renamed"]));
        let file = platter.join(format!("d-{}", tree::key(&state).unwrap()));
        fs::write(&file, fs::read_to_string(&file).unwrap() + &record).unwrap();
        disk.lose_power(count).unwrap();
        assert_eq!(fs::read(state.join("kept")).unwrap(), b"synced");
        let is_there = |name: &str| state.join(name).exists();
        seen.insert((is_there("new"), is_there("renamed")));
        for name in ["new", "renamed"] {
            // For the next round; it may not be there.
            fs::remove_file(state.join(name)).ok();
        }
        fs::remove_dir_all(&platter).unwrap();
        fs::create_dir(&platter).unwrap();
        settle(&state, &platter).unwrap();
    }
    let expected = [(false, false), (true, false), (false, true)];
    assert_eq!(seen, expected.into_iter().collect(), "never both, and each of the rest");
    assert!(disk.loss.changes_undone > 0, "{:?}", disk.loss);
}
