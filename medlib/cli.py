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
