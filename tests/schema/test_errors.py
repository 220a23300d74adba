"""What vbench raises on purpose."""

from vbench.schema.errors import Refused


def test_a_refusal_is_one_line_whatever_it_quotes():
    assert str(Refused("model.name=a\nb\x1b[31m: no such\r\nmodel")) == "model.name=a b [31m: no such model"
