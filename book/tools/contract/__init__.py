"""What every chapter must satisfy, one function per rule.

A rule yields a sentence for each defect it finds. ``RULES`` are about one chapter; ``BOOK_RULES`` about all of them
together. ``book/authoring.md`` says what the rules are for.
"""

from collections.abc import Callable, Iterator, Sequence

from book.tools.chapters import Chapter
from book.tools.contract import code, exercises, outputs, structure, text, whole

Rule = Callable[[Chapter], Iterator[str]]
BookRule = Callable[[Sequence[Chapter]], Iterator[str]]

RULES: tuple[Rule, ...] = (
    structure.metadata,
    structure.opening,
    structure.known_tags,
    structure.sections,
    structure.section_contents,
    structure.file_size,
    code.cell_length,
    code.definitions_only,
    code.method_module,
    code.documented,
    code.checks_assert,
    text.labels_and_markup,
    text.equation_references,
    text.citations,
    text.links,
    text.card,
    outputs.present,
    outputs.clean,
    outputs.figures,
    outputs.run_record,
    outputs.claims,
    exercises.kinds,
    exercises.grade_cells,
    exercises.grading_works,
)
BOOK_RULES: tuple[BookRule, ...] = (whole.equation_labels, whole.grade_ids, whole.slugs)
