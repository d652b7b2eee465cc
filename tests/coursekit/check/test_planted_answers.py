"""Wrong answers of a kind that readers give: each is recognised, and its reader told why.

``WRONG`` of a lesson's tests holds them: a name, and the exercise, the answer, and words of what
the reader must be told. (Lessons whose answers have another form test them in their own file.)
"""

import runpy
from pathlib import Path

import pytest

from coursekit import check

LESSONS = ("01", "02", "06", "07", "09", "11", "16", "18")
PLANTED = {
    f"{number} {name}": plant
    for number in LESSONS
    for name, plant in runpy.run_path(str(Path(__file__).with_name(f"test_check_{number}.py")))[
        "WRONG"
    ].items()
}


@pytest.mark.parametrize("plant", PLANTED)
def test_wrong_answers_are_named(plant):
    exercise, answer, expected = PLANTED[plant]
    verdict = check.verdict(exercise, answer)
    assert verdict.state == "wrong"
    assert expected in verdict.message
