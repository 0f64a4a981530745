//! In which order backends take new flows: tables made once for each change of a
//! virtual IP, so that a choice is one look into them.

use std::net::IpAddr;

use super::vip::Backend;

/// The longest wheel, unless there are more backends. Weights are rounded to it.
const WHEEL: usize = 1024;

/// Sizes of Maglev tables: primes, so that every step reaches every place.
const SIZES: [usize; 5] = [251, 1_021, 4_093, 16_381, 65_521];

/// Places of a Maglev table for each backend. Shares are then right to about 3 %,
/// and 1,000 services of 100 backends take 8 MB.
const PLACES: usize = 32;

/// A wheel on which each usable backend stands as often as its weight says beside the
/// others', spread evenly. Entries are places in `backends`.
pub(super) fn wheel(backends: &[Backend], usable: &[u16]) -> Box<[u16]> {
    let weight = |at: &u16| u64::from(backends[usize::from(*at)].weight);
    let divisor = usable.iter().map(weight).fold(0, gcd).max(1);
    let whole: u64 = usable.iter().map(|at| weight(at) / divisor).sum();
    let longest = usable.len().max(WHEEL) as u64;
    let turns = |at: &u16| match weight(at) / divisor {
        turns if whole <= longest => turns,
        turns => (turns * longest / whole).max(1),
    };
    // The k-th turn of a backend with n turns is due (2k + 1) / 2n of the way round.
    let mut order: Vec<(u64, u64, u16)> = usable
        .iter()
        .flat_map(|at| {
            let turns = turns(at);
            (0..turns).map(move |k| (2 * k + 1, turns, *at))
        })
        .collect();
    order.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)));
    order.into_iter().map(|(_, _, at)| at).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The look-up table of Maglev (Eisenbud et al., NSDI 2016, section 3.4). Backends
/// take their next preferred place in the order of the wheel, which gives them as
/// many places as their weights say. What they prefer depends on the addresses alone,
/// so that every host makes the same table.
pub(super) fn maglev(vip: IpAddr, backends: &[Backend], usable: &[u16]) -> Box<[u16]> {
    let wanted = usable.len() * PLACES;
    let size = SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(SIZES[SIZES.len() - 1]);
    let mut preferences: Vec<Preference> =
        backends.iter().map(|b| Preference::new(vip, b.ip, size)).collect();
    let mut table = vec![None; size];
    let wheel = wheel(backends, usable);
    let mut empty = size;
    for at in wheel.iter().cycle() {
        if empty == 0 {
            break;
        }
        let preference = &mut preferences[usize::from(*at)];
        while table[preference.place].is_some() {
            preference.step(size);
        }
        table[preference.place] = Some(*at);
        empty -= 1;
    }
    table.into_iter().flatten().collect()
}

/// Where in the table a backend would like to stand next.
struct Preference {
    place: usize,
    skip: usize,
}

impl Preference {
    fn new(vip: IpAddr, backend: IpAddr, size: usize) -> Preference {
        let seed = stir(0, vip);
        let place = stir(seed, backend) % size as u64;
        let skip = stir(!seed, backend) % (size as u64 - 1) + 1;
        Preference { place: place as usize, skip: skip as usize }
    }

    fn step(&mut self, size: usize) {
        self.place = (self.place + self.skip) % size;
    }
}

/// A hash that is the same on every host, of every version.
pub(super) fn stir(seed: u64, ip: IpAddr) -> u64 {
    let bits = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    mix(mix(seed ^ (bits >> 64) as u64) ^ bits as u64)
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014), over the next number of its
/// sequence: every bit of the input moves half of the output's.
pub(super) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::vip::Standing;
    use super::*;

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn backends(weights: &[u16]) -> (Vec<Backend>, Vec<u16>) {
        let backend = |(n, weight): (usize, &u16)| {
            let ip = IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
            Backend { ip, weight: *weight, standing: Standing::Ready }
        };
        let all: Vec<Backend> = weights.iter().enumerate().map(backend).collect();
        let usable = (0..all.len() as u16).collect();
        (all, usable)
    }

    fn shares(table: &[u16]) -> BTreeMap<u16, usize> {
        let mut shares = BTreeMap::new();
        table.iter().for_each(|at| *shares.entry(*at).or_default() += 1);
        shares
    }

    #[test]
    fn a_wheel_is_short_and_smooth() {
        let (all, usable) = backends(&[5, 1, 1]);
        assert_eq!(*wheel(&all, &usable), [0, 0, 0, 1, 2, 0, 0]);
        let (all, usable) = backends(&[300, 300, 300]);
        assert_eq!(*wheel(&all, &usable), [0, 1, 2]);
        let (all, usable) = backends(&[65_535, 1]);
        let wheel = wheel(&all, &usable);
        assert_eq!((wheel.len(), shares(&wheel)[&1]), (1024, 1), "nobody is left out");
    }

    #[test]
    fn tables_are_bounded_whatever_there_is() {
        assert!(wheel(&[], &[]).is_empty() && maglev(VIP, &[], &[]).is_empty());
        let (all, usable) = backends(&[65_535; 3000]);
        assert_eq!(wheel(&all, &usable).len(), 3000);
        let (all, usable) = backends(&(1..=3000).collect::<Vec<u16>>());
        assert!(wheel(&all, &usable).len() <= 6000);
        assert_eq!(maglev(VIP, &all, &usable).len(), 65_521);
        let (all, usable) = backends(&[1; 100]);
        assert_eq!(maglev(VIP, &all, &usable).len(), 4_093);
    }

    #[test]
    fn maglev_shares_by_weight_and_moves_little() {
        let (mut all, usable) = backends(&[1, 1, 2, 1, 1, 1, 1, 1, 1, 1]);
        let before = maglev(VIP, &all, &usable);
        let all_shares = shares(&before);
        let one = before.len() / 11;
        for (at, share) in &all_shares {
            let due = if *at == 2 { 2 * one } else { one };
            assert!(share.abs_diff(due) <= 1 + due / 20, "{at}: {share} of {}", before.len());
        }
        let without: Vec<u16> = usable.iter().copied().filter(|at| *at != 5).collect();
        let after = maglev(VIP, &all, &without);
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a && **b != 5).count();
        assert!(moved < before.len() / 5, "{moved} of {} moved", before.len());
        // Weight and standing of who is not usable do not matter, nor its place.
        all[5].weight = 99;
        assert_eq!(maglev(VIP, &all, &without), after);
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf, "the first number of SplitMix64 from 0");
        assert_eq!(stir(1, VIP), 6_202_181_454_197_502_008);
    }

    proptest! {
        #[test]
        fn everybody_has_a_place(weights in proptest::collection::vec(1u16.., 1..40)) {
            let (all, usable) = backends(&weights);
            prop_assert_eq!(shares(&wheel(&all, &usable)).len(), weights.len());
            let even = vec![7; weights.len()];
            let (all, usable) = backends(&even);
            prop_assert_eq!(shares(&maglev(VIP, &all, &usable)).len(), weights.len());
        }
    }
}
