"""The ``medlib`` command: argument parsing and printing, nothing else."""

import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated

import typer

from medlib import models
from medlib.errors import MedlibError


def new_app(name: str, text: str) -> typer.Typer:
    """Return a Typer application with the options of every command of this repository."""
    app = typer.Typer(
        name=name,
        help=text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(help=text)
    def options(
        debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
    ) -> None:
        def note(message, *where) -> None:
            print(f"{name}: note: {message}", file=sys.stderr)

        sys.excepthook, warnings.showwarning = sys.__excepthook__, note

    return app


def run_app(app: typer.Typer, name: str) -> None:
    """Run a Typer application; an error is one line on stderr, and sets the exit code."""
    try:
        app()
    except MedlibError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == 130:  # Typer turns Ctrl-C into this code without a word
            print(f"{name}: interrupted", file=sys.stderr)
        raise


app = new_app(
    "medlib", "Deep learning for medical images: train on your own folder, measure, predict."
)
data_app = typer.Typer(help="What data sets there are, and fetching them.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def _parse_merge(texts: list[str]) -> dict[str, list[str]]:
    """Read ["tumour=benign,malignant"] as {"tumour": ["benign", "malignant"]}."""
    merged = {}
    for text in texts:
        name, _, old = text.partition("=")
        merged.setdefault(name.strip(), []).extend(_parse_names(old))
    return merged


def _parse_names(text: str) -> list[str]:
    """Read "benign,malignant" as a list."""
    return [name.strip() for name in text.split(",")]


def _parse_window(text: str) -> tuple[float, float]:
    """Read "40,400" as a centre and a width."""
    centre, width = (float(number) for number in text.split(","))
    return centre, width


Merge = Annotated[
    list[str] | None,
    typer.Option(help="Join labels, as tumour=benign,malignant. May be given several times."),
]
Classes = Annotated[
    str | None, typer.Option(help="Keep only images of these labels, as benign,malignant.")
]

NETWORKS = f"{', '.join(models.NAMES)}; to segment unet; to detect detector"


@app.command()
def train(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A set's name (see medlib data list), a CSV with the columns image and label, and"
            " if known mask, subject, split and boxes, or a folder with one sub-folder a label.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run folder: new, or one to continue.")],
    folds: Annotated[int, typer.Option(min=1, help="Of a cross-validation; 1: none.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Networks to average, of split data.")] = 1,
    task: Annotated[str, typer.Option(help="classify, segment or detect.")] = "classify",
    model: Annotated[str | None, typer.Option(help=f"Network: {NETWORKS}.")] = None,
    positive: Annotated[
        str | None, typer.Option(help="Of two classes, the finding. Default: not the healthy one.")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=8, max=1024, help="Side in pixels. Default: the set's own, or 64."),
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=2, help="Slices of a stack. Default: the middle slice.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Default: by the number of images.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of weights and order of images, not of folds.")
    ] = 0,
    merge: Merge = None,
    classes: Classes = None,
    window: Annotated[
        str | None,
        typer.Option(
            parser=_parse_window,
            metavar="CENTRE,WIDTH",
            help="Of CT, in HU, as 40,400. Default: the file's.",
        ),
    ] = None,
) -> None:
    """Train networks on a named set or on your own images, and measure them.

    Images of your own without a column split are cross-validated:
    every image is predicted by a network that has not seen its
    subject. medlib predict then averages the networks.

    The run folder gets report.html, metrics.json, predictions.csv,
    history.csv, splits.csv, config.json and the networks.

    With --task segment a network learns masks: the column mask, or
    NAME_mask.png beside NAME.png. Images without one are left out,
    unless their label says that there is nothing to see (normal ...).

    With --task detect it learns boxes: those around the lesions of the
    masks, or the columns x_min, y_min, x_max and y_max, in pixels of
    the file from its upper left corner, one row a lesion. An image
    whose row has no box is one in which nobody found a lesion.

    Stopped at any moment, the same command continues it, and it
    ends with the same weights.
    """
    from medlib import console, report, runfiles, runs

    try:
        with console.epochs() as on_epoch:
            metrics = runs.train(
                data,
                out,
                task=task,
                model=model,
                image_size=image_size,
                depth=depth,
                epochs=epochs,
                folds=folds,
                seeds=seeds,
                seed=seed,
                merge=merge and _parse_merge(merge),
                classes=classes and _parse_names(classes),
                positive=positive,
                window=window,
                on_epoch=on_epoch,
            )
    except KeyboardInterrupt:
        print(f"medlib: the same command continues {out}", file=sys.stderr)
        raise typer.Exit(130) from None
    if metrics is None:
        print(f"{out} is finished already; see {out / runfiles.REPORT}")
        return
    console.print_table(report.metric_table(metrics), f"{metrics['measured_on']}:")
    for sentence in report.remarks(metrics):
        print(sentence)
    print(f"Look at {out / runfiles.REPORT}")


@app.command()
def evaluate(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Images of the run's classes.")],
) -> None:
    """Measure trained networks on other data, with 95 % intervals.

    Images that a network was trained on, or of the same subject, are
    left out. The numbers are added to the run's metrics.json. On the
    data of the run itself: what was measured when it was trained.
    """
    from medlib import console, report, runs

    metrics, measured_on = runs.evaluate(runs.read_run(run_folder), data)
    table = report.metric_table({"metrics": metrics.to_dict("records")})
    console.print_table(table, f"{measured_on}:")


@app.command()
def predict(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE", help="PNG, JPEG, TIFF, DICOM or NIfTI.")
    ],
    out: Annotated[Path, typer.Option(help="CSV to write: a class, sizes or boxes of each image.")],
) -> None:
    """Predict images with the average of the run's networks.

    A network that segments writes masks as well: those of OUT.csv
    into the folder OUT_masks, PNG or NIfTI of the size of their
    images, of every slice of a volume. The table then has the area
    and the longest diameter, of the slice where they are largest,
    in mm and its square, or in pixels where the file has no
    spacing.

    Of a network that detects, the table has a row for each box, in
    pixels of the file (of a volume: of its axial slices), with a
    score from 0 to 1, and a row without a box for an image in which
    it finds none.

    An image that cannot be used is named on stderr and the others
    still get predictions; the exit code is then 1.
    """
    from medlib import files, runs

    out = Path(out)  # a notebook may give text
    with files.writing(out) as partial:
        masks = out.with_name(f"{out.stem}_masks")
        predictions, errors = runs.predict(runs.read_run(run_folder), images, masks=masks)
        predictions.to_csv(partial, index=False)
    for error in errors:
        print(f"medlib: {error}", file=sys.stderr)
    print(f"{len(images) - len(errors)} predictions in {out}")
    if errors:
        print(f"medlib: {len(errors)} of {len(images)} images failed", file=sys.stderr)
        raise typer.Exit(1)


@data_app.command("list")
def data_list() -> None:
    """List the data sets, and which of them are on this machine."""
    from medlib import datasets
    from medlib.datasets import medmnist

    print(f"{'name':<16}{'train/validation/test':<24}{'classes':<9}{'licence':<11}on this machine")
    for name in datasets.names():
        facts = datasets.info(name)
        here = [str(size) for size in facts.files if medmnist.find(name, image_size=size)]
        present = f"{', '.join(here)} px" if here else "no" if facts.files else "always"
        counts = "/".join(str(count) for count in facts.counts.values())
        licence = facts.licence.partition(";")[0]
        print(f"{name:<16}{counts:<24}{len(facts.class_names):<9}{licence:<11}{present}")


@data_app.command("info")
def data_info(name: Annotated[str, typer.Argument(help="A name that `list` shows.")]) -> None:
    """Show where a data set comes from, its licence, its files and its card."""
    from medlib import datasets
    from medlib.datasets import medmnist

    facts = datasets.info(name)
    print(f"{facts.section}\n")
    for size, file in facts.files.items():
        path = medmnist.find(name, image_size=size)
        print(f"{size} px: {file.address} (MD5 {file.md5})")
        print(f"    on this machine: {path or 'no'}")


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A name that `list` shows.")],
    image_size: Annotated[int, typer.Option(help="Side length in pixels.")] = 28,
) -> None:
    """Fetch a public data set into the cache, unless it is on this machine."""
    from medlib import datasets
    from medlib.datasets import medmnist

    if not datasets.info(name).files:
        print(f"{name} is made on this machine: there is nothing to fetch")
        return
    path = medmnist.find(name, image_size=image_size)
    print(path or medmnist.fetch(name, image_size=image_size))


@data_app.command("cards", hidden=True)
def data_cards() -> None:
    """Print data/README.md, made from the cards of all data sets."""
    from medlib.datasets import registry

    print(registry.readme(), end="")


def main() -> None:
    """Run the command; end with exit code 0 (done), 1 (some inputs failed) or 2 (wrong use)."""
    run_app(app, "medlib")


if __name__ == "__main__":
    main()
