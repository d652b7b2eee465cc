"""What the README promises."""

import re


def test_every_link_points_at_a_file_that_exists(repository):
    for page in ("README.md", "CONTRIBUTING.md", "data/README.md"):
        text = (repository / page).read_text()
        links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", text)
        missing = [link for link in links if not ((repository / page).parent / link).exists()]
        assert not missing, page


def test_the_course_map_names_all_30_lessons_and_links_just_the_written_ones(repository):
    text = (repository / "README.md").read_text()
    rows = re.findall(r"^\|[^|]*\| (\[)?(\d\d) [^|]*\| (\d+|planned) \|", text, flags=re.M)
    assert [number for _, number, _ in rows] == [f"{number:02d}" for number in range(30)]
    written = {path.name[:2] for path in (repository / "lessons").glob("[0-9][0-9]_*.py")}
    assert {number for link, number, _ in rows if link} == written
    assert {number for _, number, state in rows if state != "planned"} == written


def test_the_minutes_to_read_are_those_that_the_lessons_name(repository):
    text = (repository / "README.md").read_text()
    for path in (repository / "lessons").glob("[0-9][0-9]_*.py"):
        minutes = re.search(r"\*\*Reading:\*\* about (\d+) min", path.read_text())[1]
        assert re.search(rf"\(notebooks/{path.stem}\.ipynb\)[^|]*\| {minutes} \|", text), path.stem


def test_no_path_of_a_machine_is_committed(repository):
    import subprocess

    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=repository, text=True)
    for name in filter(None, files.split("\0")):
        path = repository / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".ipynb", ".json", ".txt", ".lock"}:
            text = path.read_text(encoding="utf-8")
            assert str(repository) + "/" not in text, name
