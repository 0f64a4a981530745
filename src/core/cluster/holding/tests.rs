use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn r(first: u128, last: u128) -> Range {
    Range { first, last }
}

fn set(ranges: &[(u128, u128)]) -> Ranges {
    ranges.iter().map(|(first, last)| r(*first, *last)).collect()
}

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn listed(ranges: &Ranges) -> Vec<(u128, u128)> {
    ranges.iter().map(|r| (r.first, r.last)).collect()
}

#[test]
fn the_ends_of_the_numbers_do_not_overflow() {
    const MAX: u128 = u128::MAX;
    let mut all = set(&[(0, MAX)]);
    assert_eq!(all.count(), MAX, "saturated");
    assert_eq!(all.blocks(1 << 127), 2);
    assert!(all.contains(0) && all.contains(MAX));
    all.remove(r(0, 0));
    all.remove(r(MAX, MAX));
    assert_eq!(listed(&all), [(1, MAX - 1)]);
    all.add(r(MAX, MAX));
    all.add(r(0, 0));
    assert_eq!(listed(&all), [(0, MAX)], "what touches becomes one");
    assert!(all.subtract(&all).is_empty());
    assert_eq!(all.iter_blocks(1 << 127).count(), 2);
    assert_eq!(set(&[(MAX - 2, MAX)]).iter_blocks(2).collect::<Vec<_>>(), [r(MAX - 1, MAX)]);
    assert_eq!(set(&[(MAX, MAX)]).lowest(), Some(MAX));
}

#[test]
fn a_range_that_ends_before_it_begins_has_nothing() {
    let mut some = set(&[(3, 9)]);
    some.add(r(6, 1));
    some.remove(r(6, 1));
    assert_eq!(listed(&some), [(3, 9)]);
    assert!(!some.covers(r(6, 5)));
    assert_eq!((r(6, 1).count(), r(6, 1).blocks(1)), (0, 0));
    let mut holding = Holding { ranges: some, ..Holding::default() };
    for want in [Want::Exactly(r(6, 5)), Want::Within(r(6, 1), 0), Want::Within(r(0, 9), 200)] {
        assert_eq!(holding.grant(node(1), want, &Ranges::default()), None, "{want:?}");
    }
}

#[test]
fn what_is_out_of_order_is_no_set_of_ranges() {
    let decode = |ranges: &[(u128, u128)]| {
        postcard::from_bytes::<Ranges>(&postcard::to_allocvec(ranges).unwrap()).ok()
    };
    assert_eq!(decode(&[(0, 1), (3, u128::MAX)]), Some(set(&[(0, 1), (3, u128::MAX)])));
    assert_eq!(decode(&[]), Some(Ranges::default()));
    for wrong in [
        &[(5, 4)][..],
        &[(4, 5), (1, 2)],
        &[(1, 5), (3, 9)],
        &[(1, 5), (6, 9)],
        &[(1, u128::MAX), (u128::MAX, u128::MAX)],
    ] {
        assert_eq!(decode(wrong), None, "{wrong:?}");
    }
    let most: Vec<_> = (0..=Ranges::MAX as u128).map(|n| (2 * n, 2 * n)).collect();
    assert!(decode(&most[1..]).is_some());
    assert_eq!(decode(&most), None, "too many");
}

proptest! {
    #[test]
    fn sets_of_ranges_are_sets(
        steps in prop::collection::vec((any::<bool>(), 0u128..64, 0u128..12), 0..40),
        other in prop::collection::vec((0u128..64, 0u128..12), 0..12),
        top: bool, size in 1u128..9,
    ) {
        // The same at both ends of the numbers.
        let base = if top { u128::MAX - 74 } else { 0 };
        let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
        for (add, first, len) in steps {
            let range = r(base + first, base + first + len);
            if add {
                ranges.add(range);
                model.extend(range.first..=range.last);
            } else {
                ranges.remove(range);
                model.retain(|n| !(range.first..=range.last).contains(n));
            }
        }
        let other: Ranges =
            other.into_iter().map(|(first, len)| r(base + first, base + first + len)).collect();
        let others: BTreeSet<u128> = numbers(&other);
        prop_assert_eq!(&numbers(&ranges), &model);
        prop_assert_eq!(ranges.count(), model.len() as u128);
        prop_assert_eq!(ranges.lowest(), model.first().copied());
        prop_assert_eq!(&numbers(&ranges.union(&other)), &(&model | &others));
        prop_assert_eq!(&numbers(&ranges.intersect(&other)), &(&model & &others));
        prop_assert_eq!(&numbers(&ranges.subtract(&other)), &(&model - &others));
        for n in base..=base + 74 {
            prop_assert_eq!(ranges.contains(n), model.contains(&n));
        }
        let blocks: Vec<Range> = ranges.iter_blocks(size).collect();
        let whole = |n: u128| {
            let block = r(n * size, (n * size).checked_add(size - 1)?);
            (block.first..=block.last).all(|n| model.contains(&n)).then_some(block)
        };
        let expected: Vec<Range> =
            (base / size..=(base + 74) / size).filter_map(whole).collect();
        prop_assert_eq!(&blocks, &expected);
        prop_assert_eq!(ranges.blocks(size), blocks.len() as u128);
        let bytes = postcard::to_allocvec(&ranges).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Ranges>(&bytes).unwrap(), ranges);
    }

    #[test]
    fn bytes_of_anyone_make_valid_ranges_or_none(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(ranges) = postcard::from_bytes::<Ranges>(&bytes) {
            prop_assert!(ranges.len() <= Ranges::MAX);
            prop_assert_eq!(&ranges.iter().collect::<Ranges>(), &ranges);
        }
    }
}

fn numbers(ranges: &Ranges) -> BTreeSet<u128> {
    ranges.iter().flat_map(|r| r.first..=r.last).collect()
}

#[test]
fn gifts_leave_the_giver_its_lowest() {
    let mut giver = Holding::whole(r(0, 255));
    let used = set(&[(0, 1), (255, 255)]);
    let pool = Want::Within(r(0, 255), 0);
    assert_eq!(giver.grant(node(1), pool, &used), Some(r(64, 95)), "32 to 63 stay");
    assert_eq!(giver.grant(node(2), pool, &used), Some(r(96, 127)));
    assert_eq!(giver.last_gift, 2);
    let part = Want::Within(r(16, 31), 0);
    assert_eq!(giver.grant(node(3), part, &used), Some(r(18, 19)), "an eighth of 16");
    assert_eq!(listed(&giver.ranges), [(0, 17), (20, 63), (128, 255)]);
}

#[test]
fn gifts_are_blocks_and_not_too_many() {
    let mut giver = Holding::whole(r(0, u128::MAX));
    let ten = r(10 << 24, (11 << 24) - 1);
    let gift = giver.grant(node(1), Want::Within(ten, 8), &Ranges::default());
    assert_eq!(gift, Some(r((10 << 24) + (1 << 16), (10 << 24) + (2 << 16) - 1)), "256 of /24");
    let all = Want::Within(r(0, u128::MAX), 127);
    assert_eq!(giver.grant(node(2), all, &Ranges::default()), Some(r(1 << 127, u128::MAX)));
}

#[test]
fn the_last_blocks_go_one_by_one_and_the_lowest_last() {
    let mut giver = Holding::whole(r(0, 3));
    let want = Want::Within(r(0, 3), 0);
    let used = set(&[(1, 1)]);
    let gifts: Vec<_> = (1..=4).map(|n| giver.grant(node(n), want, &used)).collect();
    assert_eq!(gifts, [Some(r(2, 2)), Some(r(3, 3)), Some(r(0, 0)), None]);
}

#[test]
fn who_asks_again_before_it_took_gets_the_same() {
    let mut giver = Holding::whole(r(0, 255));
    let free = Ranges::default();
    let want = Want::Within(r(0, 255), 0);
    let gift = giver.grant(node(1), want, &free).unwrap();
    let before = giver.clone();
    assert_eq!(giver.grant(node(1), want, &free), Some(gift));
    let one = Want::Exactly(r(gift.first, gift.first));
    assert_eq!(giver.grant(node(1), one, &free), Some(gift), "what was asked for is in it");
    assert_eq!(giver, before);
    assert_ne!(giver.grant(node(2), want, &free), Some(gift));
    assert_eq!(giver.grant(node(2), one, &free), None, "somebody else's by now");
}

#[test]
fn a_gift_of_exactly_this_is_all_of_it_or_nothing() {
    let mut giver = Holding::whole(r(0, 99));
    let used = set(&[(50, 50)]);
    assert_eq!(giver.grant(node(1), Want::Exactly(r(45, 55)), &used), None);
    assert_eq!(giver.grant(node(1), Want::Exactly(r(90, 100)), &used), None);
    assert_eq!(giver.grant(node(1), Want::Exactly(r(51, 55)), &used), Some(r(51, 55)));
    let capacity = giver.capacity(r(40, 59), &used);
    assert_eq!(capacity, Capacity { owned: 15, free: 14, leaving: 5 });
}

#[test]
fn a_gift_is_taken_once_and_settled_then() {
    let (giver_id, me) = (node(1), node(2));
    let mut giver = Holding::whole(r(0, 99));
    let mut taker = Holding::default();
    giver.grant(me, Want::Exactly(r(10, 19)), &Ranges::default()).unwrap();
    let old = giver.clone();
    giver.grant(node(3), Want::Exactly(r(20, 29)), &Ranges::default()).unwrap();
    assert!(!giver.settle(me, &taker, giver_id));
    assert!(taker.take(me, giver_id, &giver));
    assert_eq!(listed(&taker.ranges), [(10, 19)]);
    taker.grant(node(3), Want::Exactly(r(10, 19)), &Ranges::default()).unwrap();
    assert!(!taker.take(me, giver_id, &old), "an old entry");
    assert!(taker.ranges.is_empty());
    assert!(giver.settle(me, &taker, giver_id));
    assert_eq!(giver.given.len(), 1, "the third has not taken yet");
    assert!(!giver.settle(me, &taker, giver_id));
}

#[test]
fn a_gift_cannot_pass_for_an_inheritance() {
    let (giver, me) = (node(1), node(2));
    let given = vec![Given { number: u64::MAX, to: me, range: r(0, 9) }];
    let theirs = Holding { given, ..Holding::default() };
    let mut taker = Holding::default();
    assert!(!taker.take(me, giver, &theirs));
    assert!(!taker.has_inherited(giver));
    let mut last = Holding { last_gift: u64::MAX - 1, ..Holding::whole(r(0, 9)) };
    assert_eq!(last.grant(me, Want::Exactly(r(0, 0)), &Ranges::default()), None);
}

#[test]
fn scattering_ends_before_an_entry_gets_too_large() {
    let mut giver = Holding::whole(r(0, 99_999));
    let mut granted = 0;
    while giver
        .grant(node(1), Want::Exactly(r(2 * granted, 2 * granted)), &Ranges::default())
        .is_some()
    {
        granted += 1;
    }
    assert!(giver.ranges.len() <= Ranges::MAX / 4 && giver.given.len() <= Ranges::MAX / 4);
    let mut taker = Holding { ranges: (0..2000).map(|n| r(3 * n, 3 * n)).collect(), ..giver };
    let given = vec![Given { number: 1, to: node(2), range: r(500_000, 500_001) }];
    let theirs = Holding { given, ..Holding::default() };
    assert!(!taker.take(node(2), node(9), &theirs), "the gift stays with the giver");
}

#[test]
fn an_heir_has_the_ranges_the_gifts_and_what_was_on_its_way() {
    let (me, dead, other, friend) = (node(1), node(2), node(3), node(4));
    let none = Ranges::default();
    let mut mine = Holding::whole(r(0, 99));
    let mut theirs = Holding::default();
    mine.grant(dead, Want::Exactly(r(50, 89)), &none).unwrap();
    theirs.take(dead, me, &mine);
    mine.settle(dead, &theirs, me);
    mine.grant(dead, Want::Exactly(r(90, 99)), &none).unwrap();
    mine.grant(other, Want::Exactly(r(40, 49)), &none).unwrap();
    let mut others = Holding::default();
    others.take(other, me, &mine);
    mine.settle(other, &others, me);
    others.grant(dead, Want::Exactly(r(48, 49)), &none).unwrap();
    theirs.grant(other, Want::Exactly(r(50, 51)), &none).unwrap();
    others.take(other, dead, &theirs);
    theirs.grant(friend, Want::Exactly(r(52, 53)), &none).unwrap();

    let all = BTreeMap::from([(dead, theirs.clone()), (other, others.clone())]);
    assert!(mine.inherit(me, &[dead], &all));
    assert_eq!(listed(&mine.ranges), [(0, 39), (48, 49), (52, 99)]);
    assert!(mine.given.is_empty() && mine.has_inherited(dead));
    assert!(others.settle(me, &mine, other), "its gift has an owner again");
    let before = mine.clone();
    assert!(!mine.inherit(me, &[dead], &all), "once");
    assert!(!mine.take(me, dead, &theirs), "nothing is taken from the dead");
    assert_eq!(mine, before);
}

#[test]
fn what_a_dead_node_took_and_gave_on_unheard_is_its_takers() {
    let (me, dead, friend) = (node(1), node(2), node(3));
    let none = Ranges::default();
    let mut mine = Holding::whole(r(0, 99));
    mine.grant(dead, Want::Exactly(r(40, 49)), &none).unwrap();
    let mut theirs = Holding::default();
    theirs.take(dead, me, &mine);
    theirs.grant(friend, Want::Exactly(r(40, 49)), &none).unwrap();
    let mut friends = Holding::default();
    friends.take(friend, dead, &theirs);
    // Nobody who is left has seen what the dead node said of itself.
    assert!(mine.inherit(me, &[dead], &BTreeMap::from([(friend, friends.clone())])));
    assert_eq!(listed(&mine.ranges), [(0, 39), (50, 99)]);
    // But for the friend, the gift would have come back.
    let mut alone = Holding::whole(r(0, 99));
    alone.grant(dead, Want::Exactly(r(40, 49)), &none).unwrap();
    assert!(alone.inherit(me, &[dead], &BTreeMap::new()));
    assert_eq!(listed(&alone.ranges), [(0, 99)]);
}

#[test]
fn a_dead_node_that_claimed_too_much_takes_nobody_s_ranges_with_it() {
    let (me, dead, other) = (node(1), node(2), node(3));
    let all = BTreeMap::from([
        (dead, Holding::whole(r(0, u128::MAX))),
        (other, Holding::whole(r(10, 19))),
    ]);
    let mut mine = Holding::whole(r(0, 9));
    mine.grant(other, Want::Exactly(r(0, 4)), &Ranges::default()).unwrap();
    assert!(mine.inherit(me, &[dead], &all));
    assert_eq!(listed(&mine.ranges), [(5, 9), (20, u128::MAX)]);
}

#[test]
fn an_heir_s_heir_settles_gifts_to_whom_the_first_inherited_from() {
    let (first, second, dead, giver) = (node(1), node(2), node(3), node(4));
    let mut gives = Holding::whole(r(0, 9));
    gives.grant(dead, Want::Exactly(r(5, 9)), &Ranges::default()).unwrap();
    let mut heir = Holding::default();
    assert!(heir.inherit(first, &[dead], &BTreeMap::from([(giver, gives.clone())])));
    // A giver that inherits itself settles its own gifts likewise.
    let mut both = gives.clone();
    assert!(both.inherit(giver, &[first], &BTreeMap::from([(first, heir.clone())])));
    assert!(both.given.is_empty());
    assert_eq!(both.ranges, r(0, 9).into());
    let mut heirs_heir = Holding::default();
    let all = BTreeMap::from([(giver, gives.clone()), (first, heir)]);
    assert!(heirs_heir.inherit(second, &[first], &all));
    assert_eq!(listed(&heirs_heir.ranges), [(5, 9)]);
    assert!(gives.settle(second, &heirs_heir, giver));
    assert!(gives.given.is_empty());
}
