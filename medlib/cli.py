"""The ``medlib`` command: argument parsing and printing, nothing else."""

import sys
from typing import Annotated

import typer

app = typer.Typer(
    name="medlib",
    help="Deep learning for medical images: run the course, or train on your own folder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="What data sets there are, and fetching them.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Deep learning for medical images: run the course, or train on your own folder."""
    sys.excepthook = sys.__excepthook__


Numbers = Annotated[
    list[str] | None, typer.Argument(help="Lessons, such as 05; all when none is named.")
]
Jobs = Annotated[int, typer.Option(help="Lessons executed at a time.")]


@app.command()
def build(
    numbers: Numbers = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only prove that notebooks/ is what lessons/ gives.")
    ] = False,
) -> None:
    """Write notebooks/ from lessons/, executed."""
    from medlib import lessons

    chosen = lessons.find(lessons.repository_root(), numbers)
    if check:
        lessons.check(chosen)
        print(f"{len(chosen)} lessons: the notebooks are what the sources give")
    else:
        lessons.build(chosen)


@app.command()
def run(
    numbers: Numbers = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", help="name=value of a lesson's parameter.")
    ] = None,
    jobs: Jobs = 2,
    timeout: Annotated[int, typer.Option(help="Seconds that a cell may take.")] = 300,
) -> None:
    """Execute lessons; the results are in runs/<time>/index.html."""
    from medlib import lessons
    from medlib.lessons.progress import shown

    chosen = lessons.find(lessons.repository_root(), numbers)
    parameters = lessons.parse_parameters(parameter or [])
    with shown() as progress:
        page = lessons.run(
            chosen, parameters=parameters, jobs=jobs, timeout=timeout, progress=progress
        )
    print(f"all {len(chosen)} done: {page}")


@app.command()
def calibrate(
    number: Annotated[str, typer.Argument(help="A lesson, such as 05.")],
    seeds: Annotated[int, typer.Option(help="How many seeds to execute it with.")] = 5,
    jobs: Jobs = 2,
) -> None:
    """Write the bands of a lesson's numbers into results/ledger.json."""
    from medlib import lessons
    from medlib.lessons.progress import shown

    (lesson,) = lessons.find(lessons.repository_root(), [number])
    with shown() as progress:
        bands = lessons.calibrate(lesson, seeds=seeds, jobs=jobs, progress=progress)
    for name, band in bands.items():
        print(f"{name}: {band.low:.4g} to {band.high:.4g} (mean {band.mean:.4g}, n = {band.n})")


@app.command()
def links(
    repository: Annotated[str, typer.Argument(help="owner/name of the public repository.")],
) -> None:
    """Stamp the launch links of a public repository into README.md and notebooks/."""
    from medlib import lessons

    root = lessons.repository_root()
    for path in lessons.stamp(root, repository):
        print(f"{path.relative_to(root)}: stamped")


def main() -> None:
    """Run the command; end with exit code 0 (done), 1 (some inputs failed) or 2 (wrong use)."""
    from medlib.errors import MedlibError

    try:
        app()
    except MedlibError as error:
        if "--debug" in sys.argv:
            raise
        print(f"medlib: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("medlib: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
