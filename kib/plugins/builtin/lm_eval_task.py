"""The task plugin `lm-eval`: any multiple-choice or generation task, with data from the hub or local files."""

import csv
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from kib.errors import InputError
from kib.harness.few_shot import MissingExamples
from kib.harness.task_index import data_set, split_names, task_manager
from kib.identity import digest, digest_file
from kib.interfaces import InputPath
from kib.interfaces import Options as BaseOptions
from kib.plugins.builtin.input_files import check_columns, check_files
from kib.prompts import LETTERS
from kib.support.json_parsing import parse_json
from kib.support.phrases import join

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

__all__ = ["LmEvalTask"]

MMLU_COLUMNS = 6  # question, four options, letter


class Data(BaseOptions):
    """Local files to use instead of the Hugging Face Hub: one file per split of the task, with their format."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)
    __pydantic_extra__: dict[str, InputPath]

    layout: Literal["rows", "mmlu"] = Field(
        "rows",
        description='"rows" for files with named fields; "mmlu" for the official MMLU format (CSV without a header)',
    )
    fields: Mapping[str, str] = Field(
        default_factory=dict, description="a mapping from the field names of the task to the field names in the file"
    )

    @property
    def splits(self) -> dict[str, Path]:
        """Return the path of the local file for each split."""
        return dict(self.__pydantic_extra__ or {})


class LmEvalTask:
    """An lm-eval task with its own prompt, few-shot examples, filters and metrics."""

    class Options(BaseOptions):
        """The keys of `[tasks.NAME]` with `plugin = "lm-eval"`."""

        task: str = Field(
            min_length=1, description="the name of a single lm-eval task; groups of tasks are not supported"
        )
        data: Data | None = Field(
            None,
            description=(
                "local files for the splits of the lm-eval task: "
                "`{ dev = PATH, test = PATH, layout = …, fields = {…} }`"
            ),
        )
        metric: str | None = Field(
            None,
            description=(
                "a metric of the task with values from 0 to 1, or `metric,filter`; default: acc, or exact_match for "
                "tasks that generate text"
            ),
        )

    revision: ClassVar[int] = 1

    def __init__(self, options: "LmEvalTask.Options") -> None:
        self.options = options
        self._remarks: list[str] = []

    def fingerprint(self) -> str:
        """Return the digest of the local files and of the lm-eval version, which determines the prompt."""
        files = self.options.data.splits if self.options.data else {}
        check_files(files.values())
        return digest([version("lm-eval"), {split: digest_file(path) for split, path in files.items()}])

    def bibtex(self) -> str:
        """Return the task's README from lm-eval, which contains the BibTeX entries of the task's data."""
        entry = task_manager()._index.get(self.options.task)  # noqa: SLF001 - lm-eval has no public access to the file of a task
        path = Path(entry.yaml_path) if entry and entry.yaml_path else None
        pages = [folder / "README.md" for folder in path.parents[:2]] if path else []
        page = next((page for page in pages if page.is_file()), None)
        return page.read_text(encoding="utf-8") if page else ""

    def metric(self) -> str | None:
        """Return the metric selected in the spec."""
        return self.options.metric

    def online(self) -> list[str]:
        """Return the data set to download, if any; raise InputError for an unknown task name or a task group."""
        name = self._single()
        data = "" if self.options.data else data_set(name)
        return [f"the data set {data} for the lm-eval task {name}"] if data else []

    @cached_property
    def _known(self) -> list[str]:
        return list(task_manager().all_tasks)

    def _single(self) -> str:
        """Return the name of the task; raise InputError if the task is unknown or a task group."""
        name = self.options.task
        if name not in self._known:
            near = get_close_matches(name, self._known, 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; list the tasks with `lm-eval ls tasks`"
            raise InputError(f"lm-eval has no task {name}{hint}")
        if name not in task_manager().all_subtasks:
            raise InputError(f"{name} is a group of lm-eval tasks; declare a separate table for each task of the group")
        return name

    def harness_task(self) -> "ConfigurableTask":
        """Load the task with its data; raise InputError for an unknown name, a task group or unavailable data."""
        name = self._single()
        spec: dict[str, Any] = {"task": name}
        missing: dict[str, str] = {}
        if self.options.data:
            missing = self._missing_splits(name, self.options.data)
            spec |= {"custom_dataset": self._loader(self.options.data), **dict.fromkeys(missing)}
        try:
            # Only the member of a group inherits from the registered task; a single dict would define a new task.
            loaded = task_manager().load([{"group": "kib", "task": [spec]}])
        except InputError:
            raise
        except KeyError as error:
            raise InputError(f"lm-eval task {name}: the data contains no split or field {error}") from error
        except Exception as error:
            if self.options.data is None and "hub" in f"{type(error)}{error}".lower():
                raise InputError(
                    f"lm-eval task {name}: cannot load the data from the hub ({_first_line(error)}); set local "
                    "files with `data = {…}`, or connect to the network"
                ) from error
            raise InputError(f"lm-eval task {name}: {_first_line(error)}") from error
        task: ConfigurableTask = loaded["tasks"][name]
        source = next(iter(split_names(name)), "")  # the definition of the task may list the examples instead
        if source in missing and not task.fewshot_cfg.samples:
            task.sampler = MissingExamples(missing[source])
        return task

    def remarks(self, split: str) -> list[str]:
        """Return a sentence about the split of the questions if the data lack the test split of the task."""
        return self._remarks if split == "test" else []

    def _missing_splits(self, name: str, data: Data) -> dict[str, str]:
        """Return the splits of the task without a local file, by the keys of the task's definition.

        Raises InputError if the data contain no questions, or if the name of a split is probably misspelled.
        """
        names = split_names(name)
        missing = {key: split for key, split in names.items() if split not in data.splits}
        unknown = [split for split in data.splits if split not in names.values()]
        asked = [names[key] for key in ("test_split", "validation_split") if key in names]
        if missing and unknown:
            raise InputError(
                f"data.{unknown[0]}: lm-eval task {name} has only the splits {join(_unique(names.values()))}"
            )
        if asked and not any(split in data.splits for split in asked):
            raise InputError(f"data: lm-eval task {name} needs questions in a file for the split {join(asked, 'or')}")
        used = "" if "test_split" not in missing else names["validation_split"]
        self._remarks = (
            [f"the questions are those of the split {used}, because `data` has no test split"] if used else []
        )
        return missing

    def _loader(self, data: Data) -> Callable[..., Any]:
        def load(**_: Any) -> Any:
            from datasets import Dataset, DatasetDict

            return DatasetDict({split: Dataset.from_list(_rows(path, data)) for split, path in data.splits.items()})

        return load


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _rows(path: Path, data: Data) -> list[dict[str, Any]]:
    """Return the rows of a local file with renamed fields; raise InputError that names the file and any invalid row."""
    try:
        rows = _read(path, data.layout)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error
    except csv.Error as error:
        raise InputError(f"{path}: not CSV: {error}") from error
    if not rows:
        raise InputError(f"{path}: no rows found")
    for number, row in enumerate(rows, 1):
        for field in data.fields.values():
            if field not in row:
                raise InputError(
                    f"{path}: row {number}: the row has no field {field}; fields found: {', '.join(map(str, row))}"
                )
    renamed = {theirs: ours for ours, theirs in data.fields.items()}
    return [{renamed.get(key, key): value for key, value in row.items()} for row in rows]


def _read(path: Path, layout: str) -> list[dict[str, Any]]:
    readers: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
        ".csv": _csv,
        ".json": _json,
        ".jsonl": _jsonl,
        ".parquet": _parquet,
    }
    if layout == "mmlu":
        return _mmlu(path)
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: unsupported file type; expected one of {', '.join(readers)}")
    return readers[path.suffix.lower()](path)


def _mmlu(path: Path) -> list[dict[str, Any]]:
    """Read the official MMLU format, which has no header row; the columns are question, A, B, C, D and letter."""
    letters = list(LETTERS[:4])
    rows = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file, strict=True), 1):
            if len(row) != MMLU_COLUMNS or row[-1] not in letters:
                raise InputError(
                    f"{path}: row {number}: expected a question, four options and a letter from A to D, got {row!r}"
                )
            rows.append({"question": row[0], "choices": row[1:5], "answer": letters.index(row[5])})
    return rows


def _csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        check_columns(f"{path}:1", reader.fieldnames or ())
        rows = list(reader)
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise InputError(f"{path}: row {number}: the row and the header have different numbers of fields")
    return rows


def _json(path: Path) -> list[dict[str, Any]]:
    rows = parse_json(path.read_text(encoding="utf-8-sig"), str(path), whole_file=True)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a JSON list of objects")
    return rows


def _jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(
        encoding="utf-8-sig", newline="\n"
    ) as file:  # other characters that Python treats as line breaks may be part of the text
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = parse_json(line, f"{path}:{number}")
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: expected a JSON object")
            rows.append(row)
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    from datasets import Dataset

    return list(Dataset.from_parquet(str(path)).to_list())
