"""Every fault of the catalogue ends with a message that names it."""

import pytest
from faults import FAULTS, Case, examine, run


@pytest.mark.parametrize("fault", FAULTS, ids=lambda x: f"{x.kind}: {x.name}".replace(" ", "-"))
def test_fault(fault, shapes, tmp_path):
    outcome, wrong = examine(fault, tmp_path / "case", shapes)
    assert not wrong, outcome.output


def test_there_are_many_faults_of_different_names():
    assert len({(x.kind, x.name) for x in FAULTS}) == len(FAULTS) >= 45


def test_where_an_error_comes_from_is_shown_if_asked(shapes, tmp_path):
    case = Case(tmp_path / "case", shapes)
    command = case.train("train.max_itr=1", flags=["--traceback"])
    outcome = run(command, case.folder)
    assert outcome.status == 1
    assert "Traceback" in outcome.output and "train.max_itr" in outcome.output
