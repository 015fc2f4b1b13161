"""A run as files and texts for other programs."""

import json
from typing import Any, overload

from xz_magics.characters import whole
from xz_magics.results import files, plain
from xz_magics.results.tables import Tables


class Exports(Tables):
    """The forms that others read."""

    run_id: str

    def _repr_html_(self) -> str:
        raise NotImplementedError

    @overload
    def to_csv(self, path: None = None) -> str: ...
    @overload
    def to_csv(self, path: files.FilePath) -> None: ...
    def to_csv(self, path: files.FilePath | None = None) -> str | None:
        """`df` for spreadsheets: as text, or in a file, which begins with the mark without which Excel misreads UTF-8.

        A text that a spreadsheet might compute begins with an apostrophe, control characters are left out, and an empty
        text looks like an unknown one. All else comes back by pandas' `read_csv`; `to_parquet` brings back everything.
        """
        from xz_magics.frames import spreadsheets

        return _given(spreadsheets.csv_text(self.df), path, "utf-8-sig")

    def to_parquet(self, path: files.FilePath) -> None:
        """`df` with its dtypes. Raises XzMagicsError where pyarrow is missing."""
        from xz_magics import frames

        files.write(frames.parquet(self.df), path)

    @overload
    def to_json(self, path: None = None, *, indent: int | None = None) -> str: ...
    @overload
    def to_json(self, path: files.FilePath, *, indent: int | None = None) -> None: ...
    def to_json(self, path: files.FilePath | None = None, *, indent: int | None = None) -> str | None:
        """The outcomes as JSON text or in a file; `failed` counts whatever is not done."""
        return _given(whole(json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)), path)

    @overload
    def to_html(self, path: None = None) -> str: ...
    @overload
    def to_html(self, path: files.FilePath) -> None: ...
    def to_html(self, path: files.FilePath | None = None) -> str | None:
        """The page that a notebook shows, as one document that needs nothing else: as text or in a file."""
        return _given(files.document(self._repr_html_(), f"subagents, run {self.run_id}"), path)

    def to_dict(self) -> dict[str, Any]:
        return plain.run(self.outcomes, self.duration_s, self.scores)


def _given(text: str, path: files.FilePath | None, encoding: str = "utf-8") -> str | None:
    if path is None:
        return text
    files.write(text.encode(encoding), path)
    return None
