"""Records of calls in checkpoints."""

from postern.authoring.call_result import Call
from postern.durable.records import call_read, call_written
from tests.table import table

PLAIN = Call(1, 2, "flow", 1.0, 2.0, "run", "https://x.example", 200, "")


@table("call", [PLAIN, Call(1, None, "book", 1.0, 2.0, status=500, error="E", gateway="madrid", agent="madrid-1")])
def test_a_call_is_read_as_it_was_written(call: Call):
    assert call_read(call_written(call)) == call


def test_a_call_without_a_gateway_is_written_as_before_there_were_any():
    """Server processes of the release before read it too."""
    assert call_written(PLAIN) == '[1, 2, "flow", 1.0, 2.0, "run", "https://x.example", 200, ""]'
