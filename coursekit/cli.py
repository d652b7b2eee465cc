"""The ``course`` command: argument parsing and printing, nothing else."""

from typing import Annotated

import typer

from coursekit.progress import shown
from coursekit.source import find, repository_root
from medlib.cli import new_app, run_app

app = new_app("course", "Build, execute and prove the lessons of the course.")
Numbers = Annotated[
    list[str] | None, typer.Argument(help="Lessons, such as 05; all when none is named.")
]
Jobs = Annotated[int, typer.Option(min=1, help="Lessons executed at a time.")]


@app.command()
def build(
    numbers: Numbers = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only prove that notebooks/ is what lessons/ gives.")
    ] = False,
    jobs: Jobs = 2,
) -> None:
    """Write notebooks/ from lessons/, executed."""
    from coursekit import build as building

    chosen = find(repository_root(), numbers)
    if check:
        building.check(chosen)
        print(f"{len(chosen)} lessons: the notebooks are what the sources give")
    else:
        with shown() as progress:
            building.build(chosen, jobs=jobs, progress=progress)


@app.command()
def run(
    numbers: Numbers = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", help="name=value of a lesson's parameter.")
    ] = None,
    jobs: Jobs = 2,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds a cell may take.")] = 300,
) -> None:
    """Execute lessons; the results are in runs/<time>/index.html."""
    from coursekit import execute

    chosen = find(repository_root(), numbers)
    parameters = execute.parse_parameters(parameter or [])
    with shown() as progress:
        page = execute.execute_lessons(
            chosen, parameters=parameters, jobs=jobs, timeout=timeout, progress=progress
        )
    print(f"all {len(chosen)} done: {page}")


@app.command()
def calibrate(
    number: Annotated[str, typer.Argument(help="A lesson, such as 05.")],
    seeds: Annotated[int, typer.Option(min=3, help="How many seeds to execute it with.")] = 10,
    jobs: Jobs = 2,
) -> None:
    """Write the bands of a lesson's numbers into results/ledger.json."""
    from coursekit import execute

    (lesson,) = find(repository_root(), [number])
    with shown() as progress:
        bands = execute.calibrate(lesson, seeds=seeds, jobs=jobs, progress=progress)
    for name, band in bands.items():
        print(f"{name}: {band.low:.4g} to {band.high:.4g} (mean {band.mean:.4g}, n = {band.n})")


@app.command()
def links(
    repository: Annotated[str, typer.Argument(help="owner/name of the public repository.")],
) -> None:
    """Stamp the launch links of a public repository into README.md and notebooks/."""
    from coursekit.links import stamp

    root = repository_root()
    for path in stamp(root, repository):
        print(f"{path.relative_to(root)}: stamped")


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="A study: studies/NAME.toml.")],
    backend: Annotated[
        str, typer.Option(help="processes, or dask with --scheduler.")
    ] = "processes",
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a running Dask cluster, tcp://host:8786.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 2,
    check: Annotated[
        int, typer.Option(help="Only run so many finished records again, and compare them.")
    ] = 0,
) -> None:
    """Run what is missing of a study, write results/studies/NAME.json, and show the result."""
    from coursekit import studies
    from medlib.errors import UsageError

    if (backend, bool(scheduler)) not in (("processes", False), ("dask", True)):
        expected = "processes, or dask and a --scheduler"
        raise UsageError("--backend", expected=expected, found=f"{backend}, {scheduler}")
    plan = studies.read_plan(repository_root() / "studies" / f"{name}.toml")
    if check:
        print(*studies.check_study(plan, check), sep="\n")
    else:
        print(studies.run_study(plan, scheduler=scheduler, jobs=jobs))
        name, statistic = plan.summary
        for data in dict.fromkeys(config["data"] for config in plan.configs):
            study = studies.load_study(plan.path.stem, data)
            print(
                f"\n{data}: {name}, {len(study.labels)} test images, 95 % over seeds and patients"
            )
            print(studies.table(study, statistic).round(3).to_string(index=False))


def main() -> None:
    """Run the command; exit codes as those of ``medlib``."""
    run_app(app, "course")


if __name__ == "__main__":
    main()
