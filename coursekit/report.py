"""The pages about a run: every lesson as it was executed, and a table of all of them."""

import re
from datetime import datetime
from pathlib import Path

import nbformat

from coursekit.kernels import Execution
from coursekit.source import TEMPLATES
from medlib import files


def write_page(execution: Execution, folder: Path) -> None:
    """Write an executed notebook, and a page that shows it without any network.

    Parameters
    ----------
    execution : Execution
    folder : Path
        Gets ``NAME.ipynb`` and ``NAME.html``.
    """
    from nbconvert import HTMLExporter

    nbformat.write(execution.notebook, folder / f"{execution.name}.ipynb")
    template, *_ = TEMPLATES.loader.get_source(TEMPLATES, "lesson.html.j2")
    filters = {"markdown2html": markdown_with_mathml}
    exporter = HTMLExporter(raw_template=template, filters=filters)
    resources = {"metadata": {"name": execution.name}}
    page, _ = exporter.from_notebook_node(execution.notebook, resources=resources)
    (folder / f"{execution.name}.html").write_text(page, encoding="utf-8")


def markdown_with_mathml(source: str) -> str:
    """Turn Markdown into HTML, and its equations into MathML, which browsers draw by themselves.

    Parameters
    ----------
    source : str
        nbconvert's own conversion leaves equations to a script that is fetched from the network.
    """
    from latex2mathml.converter import convert
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body):
            return convert(body)

        def block_math(self, body):
            return convert(body, display="block")

        def latex_environment(self, name, body):
            return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    page = MarkdownWithMath(renderer=Renderer(escape=False)).render(source)
    page = page.replace('href="solutions/', 'href="../../notebooks/solutions/')
    return re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', page)  # pages of the same run


def write_index(executions: list[Execution], folder: Path) -> None:
    """Write ``index.html`` about the lessons of a run, whole or not at all.

    Parameters
    ----------
    executions : list of Execution
        Some may still be waiting.
    folder : Path
        Where their notebooks and pages are.
    """
    template = TEMPLATES.get_template("index.html.j2")
    page = template.render(executions=executions, folder=folder, now=datetime.now())
    with files.replacing(folder / "index.html") as partial:
        partial.write_text(page, encoding="utf-8")
