"""The smallest book that satisfies the contract: one paper's chapter and the foundations it stands on.

It is what the tests of the tools work on, and shows the minimum of a chapter on two screens.
"""

from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

BIBLIOGRAPHY = r"""
@article{james1961estimation,
  title   = {Estimation with Quadratic Loss},
  author  = {James, Willard and Stein, Charles},
  journal = {Berkeley Symposium},
  volume  = {1},
  year    = {1961},
  url     = {https://example.org/james-stein}
}
"""


def write_book(folder: Path) -> Path:
    """Write bibliography and chapters, not yet executed, below ``folder``; returns the folder of the chapters."""
    for name, notebook in (("foundations", foundations()), ("shrinkage", shrinkage())):
        path = folder / "chapters" / "toy" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
    (folder / "book").mkdir()
    (folder / "book" / "references.bib").write_text(BIBLIOGRAPHY)
    return folder / "chapters"


def foundations() -> NotebookNode:
    """Derives the risk of the mean."""
    return _notebook(
        {"idea": "The mean has risk d.", "objectives": ["compute a risk"], "prerequisites": [], "difficulty": 1},
        _markdown("# Toy foundations\n\nWhat the toy part stands on."),
        _markdown("", "card"),
        *_problem(),
        _markdown("## Derivation\n\n$$\n\\mathbb E\\|x-\\mu\\|^2 = d\n$$ (toy-risk)", "sec-derivation"),
        _code("assert abs(float(noise(20000).var()) - 1) < 0.05", "check"),
        *_explore(),
        *_exercises("toy"),
        _markdown("## Further reading\n\n{cite:t}`james1961estimation` is short.", "sec-reading"),
    )


def shrinkage() -> NotebookNode:
    """The James-Stein estimator beats the mean."""
    return _notebook(
        {
            "paper": "james1961estimation",
            "idea": "Shrinking the mean lowers its risk.",
            "objectives": ["derive the estimator", "say when it helps"],
            "prerequisites": ["toy/foundations"],
            "difficulty": 2,
            "exports": ["shrink"],
        },
        _markdown("# Shrinkage\n\nThe mean is not the best estimate. Shrink it."),
        _markdown("", "card"),
        *_problem(),
        _markdown(
            "## Derivation\n\nThe mean's risk is {eq}`toy-risk`, see [foundations](foundations.ipynb); less is\n\n"
            "$$\n\\hat\\mu = \\Big(1-\\frac{d-2}{\\|x\\|^2}\\Big)x\n$$ (shrinkage-estimate)",
            "sec-derivation",
        ),
        _markdown("## Implementation\n\n{eq}`shrinkage-estimate` as code.", "sec-implementation"),
        _code(METHOD, "method"),
        _code("x = noise(9)\nassert shrink(x).norm() < x.norm()", "check"),
        _markdown("## Experiment", "sec-experiment"),
        _code("risk = float(shrink(noise(100)).square().sum())\nprint(f'{risk:.1f}')", "nbval-check-output"),
        _markdown("## Claims", "sec-claims"),
        _code(CLAIMS, "claims"),
        *_explore(),
        _markdown("## At scale\n\nThe same.", "sec-scale"),
        _markdown("## What is different here\n\nNothing.", "sec-differences"),
        *_exercises("shrinkage"),
        _markdown("## Further reading\n\n{cite:p}`james1961estimation`.", "sec-reading"),
    )


SETUP = """
import matplotlib.pyplot as plt
import torch

import nglib
from nglib import claims, plot

plot.style()


def noise(n):
    return torch.randn(n, generator=nglib.generator(0))
"""

METHOD = """
from jaxtyping import Float
from torch import Tensor


def shrink(x: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    \"\"\"The James-Stein estimate of the mean.\"\"\"
    return (1 - (len(x) - 2) / x.square().sum()) * x
"""

CLAIMS = """
claims.table(claims.Claim("risk", "Shrinking helps.", "Section 1", "risk", ("<", 100.0), risk))
"""

FIGURE = """
fig, ax = plt.subplots(figsize=(2, 1))
ax.plot(noise(5))
plot.show(fig, alt="Five draws of noise.", caption="Noise.")
"""

EXPLORE = """
def draw(n):
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.plot(noise(n))
    return fig


nglib.explore(draw, alt=lambda n: f"{n} draws.", n=[2, 3])
"""


def _problem() -> list[NotebookNode]:
    return [_markdown("## The problem", "sec-problem"), _code(SETUP, "setup"), _code(FIGURE, "cover")]


def _explore() -> list[NotebookNode]:
    return [_markdown("## Explore", "sec-explore"), _code(EXPLORE)]


def _exercises(prefix: str) -> list[NotebookNode]:
    folded = "<details><summary>Solution</summary>\n\nBy linearity.\n\n</details>"
    return [
        _markdown("## Exercises", "sec-exercises"),
        _markdown("### Derive it", "exercise-derivation"),
        _markdown(folded, "solution"),
        _markdown("### Try it", "exercise-practice"),
        _code("print(len(noise(3)))", "solution", "hide-cell"),
        *_graded(f"{prefix}-square", "square", "x * x"),
        *_graded(f"{prefix}-double", "double", "x + x"),
        _markdown("### Go on", "exercise-open"),
    ]


def _graded(grade_id: str, name: str, solution: str) -> list[NotebookNode]:
    head = f"def {name}(x):"
    test = (
        f"assert {name}(torch.tensor(2.0)) == 4\n### BEGIN HIDDEN TESTS\n"
        f"x = torch.tensor(3.0)\nassert {name}(x) == {solution}\n### END HIDDEN TESTS"
    )
    wrong = [
        _markdown(f"A slip.\n\n```python\n{head}\n    return {body}\n```", "wrong-answer", nglib={"answers": grade_id})
        for body in ("4", "x", "-x")
    ]
    return [
        _markdown(f"### Write `{name}`", "exercise-graded"),
        _code(
            f"{head}\n    ### BEGIN SOLUTION\n    return {solution}\n    ### END SOLUTION",
            nbgrader=_nbgrader(grade_id, grade=False, solution=True, locked=False),
        ),
        _code(test, nbgrader=_nbgrader(f"{grade_id}-test", grade=True, solution=False, locked=True, points=2)),
        *wrong,
    ]


def _nbgrader(grade_id: str, **flags: Any) -> dict[str, Any]:
    return {"schema_version": 3, "task": False, "grade_id": grade_id, **flags}


def _notebook(meta: dict[str, Any], *cells: NotebookNode) -> NotebookNode:
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    return new_notebook(cells=list(cells), metadata={"nglib": meta})


def _markdown(source: str, *tags: str, **metadata: Any) -> NotebookNode:
    return new_markdown_cell(source, metadata=_metadata(tags, metadata))


def _code(source: str, *tags: str, **metadata: Any) -> NotebookNode:
    return new_code_cell(source.strip("\n"), metadata=_metadata(tags, metadata))


def _metadata(tags: tuple[str, ...], metadata: dict[str, Any]) -> dict[str, Any]:
    return {**({"tags": list(tags)} if tags else {}), **metadata}
