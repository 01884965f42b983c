"""What a relay remembers of the events that it has given to W&B's client."""

import tracemalloc

from tracking_hooks_wandb.memory import Memory


def test_what_was_given_is_known():
    memory = Memory()
    for seq in (1, 8, 1000):
        memory.gave("row", seq)
    assert [seq for seq in range(1100) if memory.has("row", seq)] == [1, 8, 1000]
    assert not memory.has("file", 1)
    assert memory.is_new("file", 8)
    assert not memory.is_new("row", 8)


def test_what_was_not_safe_is_new_again_when_the_client_is_gone():
    memory = Memory()
    memory.gave("file", 2, safe=True)
    for seq in (1, 2, 3):
        memory.gave("row", seq)
    memory.unsafe["alert", 4] = 0.0  # one that waits
    memory.save({("row", 1)})
    memory.lose()
    assert [seq for seq in range(5) if memory.has("row", seq)] == [1]
    assert memory.has("file", 2)
    assert memory.safe() is None


def test_a_week_of_events_takes_next_to_no_memory():
    memory = Memory()
    tracemalloc.start()
    try:
        for seq in range(200_000):
            memory.gave("row", seq)
            memory.save({("row", seq)})
        assert tracemalloc.get_traced_memory()[0] < 100_000, "bytes"
    finally:
        tracemalloc.stop()
