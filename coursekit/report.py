"""The page about a run: every lesson with its state, time, memory and numbers."""

from datetime import datetime
from html import escape
from pathlib import Path

from medlib import files

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .25rem; }
.summary { color: GrayText; margin-top: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem; }
th { font-size: .85rem; color: GrayText; font-weight: 600; }
tbody tr { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
.amount { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.status { white-space: nowrap; font-weight: 600; }
.done { color: #00704f; } .failed { color: #b23b00; } .waiting, .running { color: GrayText; }
@media (prefers-color-scheme: dark) { .done { color: #35c796; } .failed { color: #ff8a4c; } }
ul { list-style: none; margin: 0; padding: 0; font-size: .9rem; white-space: nowrap; }
.band { color: GrayText; }
.error { font-family: ui-monospace, monospace; font-size: .85rem; white-space: pre-wrap; }
"""
SIGNS = {"done": "&#10003;", "failed": "&#10007;", "running": "&#8230;", "waiting": "&#183;"}


def write_index(executions: list, folder: Path) -> None:
    """Write ``index.html`` about the lessons of a run, whole or not at all.

    Parameters
    ----------
    executions : list of Execution
        Some may still be waiting.
    folder : Path
        Where the executed notebooks and their pages are.
    """
    rows = "\n".join(_row(execution, folder) for execution in executions)
    states = [execution.status for execution in executions]
    counts = f"{states.count('done')} of {len(states)} done, {states.count('failed')} failed"
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Course run: {counts}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Deep learning for medical images: a run of the course</h1>
<p class="summary">{escape(folder.name)} · {counts} · written {datetime.now():%H:%M:%S}</p>
<div class="wide"><table>
<thead><tr><th>Lesson</th><th>Status</th><th class="amount">Time</th>
<th class="amount">Peak memory</th><th>Recorded numbers and their bands</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
</body>
</html>
"""
    with files.replacing(folder / "index.html") as partial:
        partial.write_text(page, encoding="utf-8")


def _row(execution, folder: Path) -> str:
    name = escape(execution.name.replace("_", " "))
    if (folder / f"{execution.name}.html").is_file():
        name = f'<a href="{escape(execution.name)}.html">{name}</a>'
    changed = ", ".join(f"{key}={value}" for key, value in execution.parameters.items())
    finished = execution.status in ("done", "failed")
    seconds = f"{execution.seconds:.0f} s" if finished else ""
    memory = f"{execution.peak_megabytes:.0f} MB" if finished else ""
    numbers = "\n".join(_number(content) for content in execution.records.values())
    error = f'<div class="error">{escape(execution.error)}</div>' if execution.error else ""
    return f"""<tr>
<td>{name}<div class="band">{escape(changed)}</div></td>
<td class="status {execution.status}">{SIGNS[execution.status]} {execution.status}</td>
<td class="amount">{seconds}</td>
<td class="amount">{memory}</td>
<td><ul>{numbers}</ul>{error}</td>
</tr>"""


def _number(content: dict) -> str:
    value, band = content["value"], content["band"]
    name = escape(content["name"].split("/")[1].replace("_", " "))
    if band is None:
        return f'<li>{name} {value:.4g} <span class="band">no band</span></li>'
    low, high = band
    sign, state = ("done", "in") if low <= value <= high else ("failed", "outside")
    place = f'<span class="band">{state} {low:.4g} to {high:.4g}</span>'
    return f'<li><span class="{sign}">{SIGNS[sign]}</span> {name} {value:.4g} {place}</li>'
