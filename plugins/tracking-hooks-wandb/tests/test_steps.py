"""An event has one step in W&B, also where others have written rows in between."""

import pytest

from tracking_hooks_wandb.steps import Addenda, Steps


@pytest.mark.parametrize(
    ("base", "taken"), [(0, []), (0, [(4, 6)]), (10, [(3, 5), (14, 14), (17, 20)]), (2, [[4, 6], [7, 9]])]
)
def test_steps_rise_and_leave_out_those_of_addenda(base, taken):
    steps = Steps(base, taken)
    given = [steps.of(seq) for seq in range(1, 20)]
    later = {step for first, last in taken if first > base for step in range(first, last + 1)}
    assert given == [step for step in range(base + 1, base + 40) if step not in later][:19]
    assert [steps.event(step) for step in given] == list(range(1, 20))


def test_a_step_of_an_addendum_belongs_to_the_event_before_it():
    steps = Steps(0, [(4, 6)])
    assert [steps.event(step) for step in (-1, 0, 3, 4, 6, 7)] == [0, 0, 3, 3, 3, 4]


def test_steps_of_an_addendum_are_kept_as_stretches():
    addenda = Addenda.of({})
    for step in (4, 5, 6, 9):
        addenda = Addenda.of(addenda.with_steps(step).config())
    assert addenda.steps == [[4, 6], [9, 9]]
