"""What viewers are sent: changes that add up to the state, and memory that does not grow."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenflow.report.live.board import MOST_BYTES, Board, changed, changes

pytestmark = pytest.mark.long

VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["set", "grow", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
STATES = st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=4, max_size=4)


@given(states=st.lists(STATES, min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_changes_add_up_to_the_state(states):
    """Also where texts of a log look like a change."""
    seen = {}
    for state in states:
        change = changes(seen, state)
        seen = changed(seen, json.loads(json.dumps(change)))
        assert seen == state


def test_of_a_list_that_grew_only_the_end_is_sent():
    before = {"curve": [[k, 0.5] for k in range(1000)], "name": "a"}
    now = {"curve": [*before["curve"][:-1], [999, 0.7], [1000, 0.4]], "name": "a"}
    assert changes(before, now) == {"grow": {"curve": [999, [[999, 0.7], [1000, 0.4]]]}}


def test_nothing_is_sent_where_nothing_changed():
    board, told = Board(), []
    board.listen(lambda: told.append(board.number))
    board.publish({"a": 1})
    board.publish({"a": 1})
    assert told == [1] and board.after(1) == []


def test_a_place_in_the_list_is_all_that_a_viewer_costs():
    board = Board(most_events=10)
    for k in range(1, 101):
        board.publish({"step": k})
    assert [one.number for one in board.after(95)] == [96, 97, 98, 99, 100]
    assert [one.number for one in board.after(90)] == list(range(91, 101))
    (whole,) = board.after(89)  # its next change is no longer kept
    assert whole.number == 100 and b"event: state\n" in whole.content and b'{"step":100}' in whole.content
    assert board.after(None) == [whole]


def test_kept_changes_are_bounded_in_bytes_too():
    board = Board()
    for k in range(40):
        board.publish({"curve": [k] * (MOST_BYTES // 20)})
    assert board.kept_bytes <= MOST_BYTES
    few = Board(most_events=3)
    for k in range(20):
        few.publish({"step": k})
    assert few.kept_bytes == sum(len(one.content) for one in few.after(few.number - 3))


def test_texts_cannot_end_an_event():
    board = Board()
    board.publish({"name": "a\n\nevent: state\ndata: {}\r\u2028</script>"})
    (event,) = board.after(None)
    assert event.content.count(b"\n") == 4 and event.content.endswith(b"\n\n") and b"\r" not in event.content
