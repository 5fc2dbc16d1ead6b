"""Order is a pure function: any number of ranks, stopped anywhere, sees what one undisturbed rank would."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataloading.order import LastStep, epoch_sequence, keyed, position_digest, rank_share, step_sizes

IDS = np.array([5, 9, 17, 30, 862, 8844, 31357])


@given(samples=st.integers(0, 500), world_size=st.integers(1, 9), batch_size=st.integers(1, 40))
def test_steps_keep_the_rule_of_the_last_step(samples: int, world_size: int, batch_size: int) -> None:
    """PARTIAL adds up, REPEAT fills up by less than a step, DROP leaves out less than a step; no step is overfull."""
    full = world_size * batch_size
    for last in LastStep:
        sizes = step_sizes(samples, world_size=world_size, batch_size=batch_size, last=last)
        surplus = sum(sizes) - samples
        assert {
            LastStep.PARTIAL: surplus == 0,
            LastStep.REPEAT: 0 <= surplus < full,
            LastStep.DROP: -full < surplus <= 0,
        }[last]
        assert all(0 < size <= full for size in sizes)
        if last is not LastStep.PARTIAL:
            assert set(sizes) <= {full}


@given(samples=st.integers(1, 500), world_size=st.integers(1, 9), batch_size=st.integers(2, 40))
def test_no_rank_goes_without_a_poster_while_there_are_enough(samples: int, world_size: int, batch_size: int) -> None:
    """With at least one poster for each rank, PARTIAL gives every rank a poster in every step."""
    sizes = step_sizes(samples, world_size=world_size, batch_size=batch_size, last=LastStep.PARTIAL)
    assert samples < world_size or min(sizes) >= world_size


@given(size=st.integers(0, 300), world_size=st.integers(1, 12))
def test_ranks_divide_a_step_evenly(size: int, world_size: int) -> None:
    """The shares are disjoint, complete, in order, and differ by at most one."""
    shares = [range(size)[rank_share(size, rank=rank, world_size=world_size)] for rank in range(world_size)]
    assert [place for share in shares for place in share] == list(range(size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_sequence_is_a_permutation_of_its_own_for_each_epoch_and_seed() -> None:
    """Shuffled or not, every poster stands in it once."""
    sequences = [
        epoch_sequence(IDS, seed=seed, epoch=epoch, shuffle=True).tolist() for seed in (0, 1) for epoch in (0, 1, 2)
    ]
    assert all(sorted(sequence) == list(range(len(IDS))) for sequence in sequences)
    assert len({tuple(sequence) for sequence in sequences}) == 6
    assert epoch_sequence(IDS, seed=0, epoch=0, shuffle=False).tolist() == list(range(len(IDS)))


def test_sequence_is_the_same_forever() -> None:
    """Stated here, so that no update of a library changes the order of a run that is to be repeated."""
    assert IDS[epoch_sequence(IDS, seed=7, epoch=3, shuffle=True)].tolist() == [31357, 5, 862, 8844, 9, 30, 17]


def test_order_of_the_others_does_not_change_when_a_movie_goes() -> None:
    """The place of a movie depends on its own id, not on its row."""
    order = IDS[epoch_sequence(IDS, seed=0, epoch=0, shuffle=True)].tolist()
    rest = IDS[IDS != 30]
    assert rest[epoch_sequence(rest, seed=0, epoch=0, shuffle=True)].tolist() == [one for one in order if one != 30]


def test_hashes_spread_evenly() -> None:
    """The top bits of the hashes of neighbouring ids, seeds and epochs fill 16 bins to within 5 standard deviations."""
    for hashes in (
        keyed(np.arange(16_000), 3, 1),
        np.concatenate([keyed(IDS[:1], s, e) for s in range(160) for e in range(100)]),
    ):
        counts = np.bincount((hashes >> np.uint64(60)).astype(int), minlength=16)
        assert abs(counts - 1000).max() < 5 * np.sqrt(1000)


@given(cut=st.integers(0, len(IDS)))
def test_digests_of_parts_add_up(cut: int) -> None:
    """Wherever an epoch is cut, the digests of the two parts add up to that of the whole."""
    places = np.arange(len(IDS))
    whole = position_digest(2, places, IDS)
    parts = position_digest(2, places[:cut], IDS[:cut]) + position_digest(2, places[cut:], IDS[cut:])
    assert parts % 2**64 == whole
    assert whole not in {position_digest(3, places, IDS), position_digest(2, places, IDS[::-1])}
