"""A log is read as it grows; a torn line costs itself alone."""

import pytest

from harness.system.jsonl import JsonlLog


def test_a_reader_sees_what_was_added_since_it_looked(tmp_path):
    writer, reader = JsonlLog(tmp_path / "log"), JsonlLog(tmp_path / "log")
    assert reader.new() == []
    writer.append('{"a": 1}')
    assert reader.new() == [{"a": 1}]
    writer.append('{"a": 2}')
    writer.append('{"a": "é"}')
    assert reader.new() == [{"a": 2}, {"a": "é"}]
    assert reader.new() == []


@pytest.mark.parametrize("torn", [b"{", b'{"a": 2', b'{"a": 2}'])
def test_a_torn_tail_is_not_read_and_is_cut_before_the_next_line(tmp_path, torn):
    path = tmp_path / "log"
    writer, reader = JsonlLog(path), JsonlLog(path)
    writer.append('{"a": 1}')
    path.write_bytes(path.read_bytes() + torn)
    assert reader.new() == [{"a": 1}]
    writer.append('{"a": 3}')
    assert reader.new() == [{"a": 3}]
    assert path.read_bytes() == b'{"a": 1}\n{"a": 3}\n'
