"""Execute one lesson with papermill, in a process of its own: ``python -m coursekit.worker``.

Reads one JSON object from the standard input (see :func:`main`); writes ``cell DONE TOTAL`` after
every cell and finally ``result {...}``, each on a line that begins with :data:`MARK`.
"""

import json
import sys
from pathlib import Path

MARK = "@medlib "
# nbconvert's own page has no alternative texts: its `lab` template ignores them.
TEMPLATE = """\
{% extends 'lab/index.html.j2' %}
{% block data_png %}
<div class="jp-RenderedImage jp-OutputArea-output">
<img src="data:image/png;base64,{{ output.data['image/png'] }}"
 alt="{{ output | get_metadata('alt', 'image/png') | escape_html }}">
</div>
{% endblock data_png %}
"""


def main() -> None:
    """Do the task on the standard input: ``source``, ``name``, ``folder``, ``parameters``, ..."""
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.exceptions import PapermillExecutionError

    from coursekit.source import Lesson

    task = json.load(sys.stdin)

    class Engine(NBClientEngine):
        """papermill's engine, which also says how far it is."""

        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            complete = nb_man.cell_complete

            def report(cell, cell_index=None, **more):
                complete(cell, cell_index=cell_index, **more)
                _say(f"cell {cell_index + 1} {len(nb_man.nb.cells)}")

            nb_man.cell_complete = report
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("medlib", Engine)
    notebook = Lesson(Path(task["source"])).read()
    notebook.metadata["papermill"] = {}
    output = Path(task["folder"]) / f"{task['name']}.ipynb"
    error = ""
    try:
        papermill.execute_notebook(
            notebook,
            str(output),
            parameters=task["parameters"],
            engine_name="medlib",
            kernel_name="python3",
            progress_bar=False,
            cwd=task["work"],
            execution_timeout=task["timeout"],
            coalesce_streams=True,
        )
    except PapermillExecutionError as failure:
        error = f"cell {failure.exec_count}: {failure.ename}: {failure.evalue}"
    except TimeoutError:
        error = f"a cell took longer than {task['timeout']} s"
    except RuntimeError as failure:
        error = f"{failure}"
    if output.is_file():
        _write_page(output)
    _say("result " + json.dumps({"error": error}))


def _write_page(path: Path) -> None:
    """Write the executed notebook as a page beside it."""
    import nbformat
    from nbconvert import HTMLExporter

    from coursekit.build import clean_outputs

    notebook = nbformat.read(path, as_version=4)
    clean_outputs(notebook)
    nbformat.write(notebook, path)
    page, _ = HTMLExporter(raw_template=TEMPLATE).from_notebook_node(
        notebook, resources={"metadata": {"name": path.stem}}
    )
    path.with_suffix(".html").write_text(page, encoding="utf-8")


def _say(text: str) -> None:
    print(f"{MARK}{text}", flush=True)


if __name__ == "__main__":
    main()
