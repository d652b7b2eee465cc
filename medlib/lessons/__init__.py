"""Build, check, execute and link the lessons: ``lessons/NN_topic.py`` is their only source."""

from medlib.lessons.build import build, check
from medlib.lessons.links import stamp
from medlib.lessons.run import calibrate, parse_parameters, run
from medlib.lessons.source import Lesson, find, repository_root

__all__ = [
    "Lesson",
    "build",
    "calibrate",
    "check",
    "find",
    "parse_parameters",
    "repository_root",
    "run",
    "stamp",
]
