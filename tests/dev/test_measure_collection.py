"""What is printed of collections."""

import pytest

pytest.importorskip("pyarrow")


@pytest.fixture
def run(load_script, monkeypatch, capsys):
    tool = load_script("dev/measure_collection.py")

    def _run(*argv):
        monkeypatch.setattr("sys.argv", ["measure_collection.py", *map(str, argv)])
        assert tool.main() == 0
        return [line.split("  ") for line in capsys.readouterr().out.splitlines()]

    return _run


def test_numbers_of_each_part(run):
    table = run("--images", 5000, "--shards", 3)
    found = {row[0]: float(row[-2]) for row in table[1:-1]}
    names = ["reading a list", "memory", "fingerprint", "to actors", "missing shards", "errors"]
    assert [*found] == names
    # A path has 41 characters, and is pickled once.
    assert 41 < found.pop("to actors") < 80
    del found["memory"]  # of a process that has used more before
    assert all(x > 0 for x in found.values())


def test_too_few_shards(run, capsys):
    with pytest.raises(SystemExit):
        run("--shards", 1)
    assert "at least 1 image and 2 shards" in capsys.readouterr().err
