"""Columns of a data frame by kind: numbers as they are, all else through skrub."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from downslope.errors import ModelFileError, TableError, closest
from downslope.frames import names_in
from downslope.table import Array, Table, check_finite, places

if TYPE_CHECKING:
    import polars as pl

TRUSTED_TYPES: Final = (
    "polars.datatypes.classes.Datetime",
    "skrub._apply_to_each_col.ApplyToEachCol",
    "skrub._check_input.CheckInputDataFrame",
    "skrub._clean_categories.CleanCategories",
    "skrub._clean_null_strings.CleanNullStrings",
    "skrub._dataframe._common.is_any_date",
    "skrub._dataframe._common.is_categorical",
    "skrub._dataframe._common.is_numeric",
    "skrub._datetime_encoder.DatetimeEncoder",
    "skrub._drop_uninformative.DropUninformative",
    "skrub._duration_to_float.DurationToFloat",
    "skrub._string_encoder.StringEncoder",
    "skrub._table_vectorizer.PassThrough",
    "skrub._table_vectorizer.ShortReprDict",
    "skrub._table_vectorizer.TableVectorizer",
    "skrub._table_vectorizer._created_by_predicate",
    "skrub._to_datetime.ToDatetime",
    "skrub._to_float.ToFloat",
    "skrub._to_str.ToStr",
    "skrub.selectors._base.All",
    "skrub.selectors._base.And",
    "skrub.selectors._base.Cols",
    "skrub.selectors._base.Filter",
    "skrub.selectors._base.Sub",
    "skrub.selectors._selectors._cardinality_below",
)
"""The only types that a model file's vectorizer may hold, besides skops' own NumPy and
scikit-learn ones."""


HALF: Final = 0.5
"""Share of numbers among a column's texts from which it may have been meant to be of numbers."""


def _plain_numbers(texts: pl.Series) -> pl.Series:
    """Give texts as numbers, null where they are none."""
    import polars as pl

    return texts.str.strip_chars().cast(pl.Float64, strict=False)


def kind_of(column: pl.Series) -> str:
    """Say what a column holds: "number", "text", "category" or "date"."""
    import polars as pl

    kind = column.dtype
    if kind.is_numeric() or kind in (pl.Boolean, pl.Null, pl.Time, pl.Duration):
        return "number"
    if kind == pl.String:
        texts = column.drop_nulls()
        return "number" if len(texts) and not _plain_numbers(texts).null_count() else "text"
    if kind in (pl.Categorical, pl.Enum):
        return "category"
    if kind in (pl.Date, pl.Datetime):
        return "date"
    raise TableError(
        f"column {column.name!r} takes numbers, texts, categories or dates; got {kind}: "
        "spread it over plain columns, or drop it"
    )


def _refuse_stray(column: pl.Series, converted: pl.Series, was: str) -> None:
    """Raise `TableError` if a value was lost when a column became what it was in training."""
    lost = (converted.is_null() & column.is_not_null()).arg_true()
    if len(lost):
        raise TableError(
            f"column {column.name!r} held {was}s in training and holds others now, such as "
            f"{column[lost[0]]!r} (row {lost[0] + 1}; {len(lost)} in all): mend them, or leave "
            "them empty"
        )


def _as_texts(column: pl.Series, known: Sequence[str]) -> pl.Series:
    """Spell a column of other values as the texts they were in training.

    Who read the table may have taken texts for something else, and not all can be spelled as they
    were: True, or 1 as 1.0 beside missing values, can; the postal code 01067 as 1067 cannot. A
    number that is none of those known is one more text, where numbers are among these.
    """
    import polars as pl

    among = pl.Series(known, dtype=pl.String)
    values = column.fill_nan(None) if column.dtype.is_float() else column
    plain = values.cast(pl.String)
    spellings = (
        plain, plain.str.strip_suffix(".0"), plain.str.to_titlecase(), plain.str.to_uppercase()
    )  # fmt: skip
    texts = max(spellings, key=lambda each: each.is_in(among).sum())
    doubtful = texts.is_not_null() & ~texts.is_in(among)
    numbers = _plain_numbers(among).drop_nulls()
    if len(numbers) and values.dtype.is_numeric():
        doubtful &= values.cast(pl.Float64).is_in(numbers)
    foreign = doubtful.arg_true()
    if len(foreign):
        raise TableError(
            f"column {column.name!r} held texts in training and holds {column.dtype} now, such as "
            f"{column[foreign[0]]} (row {foreign[0] + 1}), which may have been spelled otherwise: "
            f"give texts as they were then (pandas.read_csv takes dtype={{{column.name!r}: str}})"
        )
    return texts


def _as_numbers(texts: pl.Series) -> pl.Series:
    """Read texts as numbers, as true (1) and false (0) or as times: as what most of them are."""
    import polars as pl

    numbers = texts.cast(pl.Float64, strict=False)
    if numbers.null_count() == texts.null_count():
        return numbers
    flags = texts.str.to_lowercase().replace_strict(
        {"true": 1.0, "false": 0.0}, default=None, return_dtype=pl.Float64
    )
    times = _seconds(texts.str.to_time(strict=False))
    return max(numbers, flags, times, key=lambda read: read.count())


def _seconds(times: pl.Series) -> pl.Series:
    """Give times of day as seconds since midnight."""
    import polars as pl

    return times.cast(pl.Int64).cast(pl.Float64) / 1e9  # from nanoseconds


def as_kind(column: pl.Series, kind: str, known: Sequence[str] = ()) -> pl.Series:
    """Convert a column to what it held in training; known: the texts that were there, if few."""
    import polars as pl

    dtype, now = column.dtype, kind_of(column)
    if dtype == pl.Null:
        return pl.Series(column.name, [None] * len(column), dtype={
            "number": pl.Float64(), "date": pl.Datetime("us"), "category": pl.Categorical()
        }.get(kind, pl.String()))  # fmt: skip
    textual = dtype in (pl.String, pl.Categorical, pl.Enum)
    if kind in ("text", "category"):
        texts = column.cast(pl.String) if textual else _as_texts(column, known)
        return texts.cast(pl.Categorical) if kind == "category" else texts
    converted = column
    if textual:
        texts = column.cast(pl.String).str.strip_chars()
        if kind == "number":
            converted = _as_numbers(texts)
        else:
            try:
                converted = texts.str.to_datetime(strict=False)
            except pl.exceptions.PolarsError:  # not one of the texts has the form of a date
                converted = pl.Series([None] * len(texts), dtype=pl.Datetime("us"))
        _refuse_stray(column, converted, kind)
    elif now != kind:
        raise TableError(
            f"column {column.name!r} held {kind}s in training; got {dtype}: give {kind}s"
        )
    if kind == "date":
        if getattr(converted.dtype, "time_zone", None):
            converted = converted.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return converted.cast(pl.Datetime("us"))
    if dtype == pl.Duration:
        return column.dt.total_microseconds().cast(pl.Float64) / 1e6  # seconds
    if dtype == pl.Time:
        return _seconds(column)
    return converted.cast(pl.Float64)


def check_texts(features: pl.DataFrame, kinds: Sequence[str], name: str) -> None:
    """Raise `TableError` if a column of numbers stored as texts holds infinite ones."""
    import polars as pl

    texts = [
        as_kind(column, kind)
        for column, kind in zip(features.iter_columns(), kinds, strict=True)
        if kind == "number" and column.dtype == pl.String
    ]
    check_finite(pl.DataFrame(texts), [column.name for column in texts], name)


def half_numbers(features: pl.DataFrame | Array) -> str:
    """Tell of the columns of texts that half or more are numbers; "" where there are none.

    >>> import polars as pl
    >>> half_numbers(pl.DataFrame({"age": ["31", "-", "27", "58"], "name": list("abcd")}))
    "'age' (75% numbers, others such as '-'): leave these empty if they stand for missing ones"
    """
    import polars as pl

    found: list[str] = []
    for column in () if isinstance(features, np.ndarray) else features.iter_columns():
        if column.dtype != pl.String or kind_of(column) == "number":
            continue
        texts = column.drop_nulls()
        others = texts.filter(_plain_numbers(texts).is_null())
        share = 1 - len(others) / max(1, len(texts))
        if len(others) and share >= HALF:
            found.append(f"{column.name!r} ({share:.0%} numbers, others such as {others[0]!r})")
    remedy = ": leave these empty if they stand for missing ones"
    return ", ".join(found) + remedy if found else ""


def _refuse_missing(columns: Sequence[str], names: Sequence[str], targets: Sequence[str]) -> None:
    """Raise `TableError` for columns that were trained on and are missing now.

    A column that was not trained on, and is not the target, may be one of them under another name.
    """
    missing = [each for each in names if each not in columns]
    if not missing:
        return
    if len(missing) == len(names) and tuple(names) == places(len(names)):
        raise TableError(
            f"{len(names)} columns without names were trained on, so they go by their places, and "
            f"got columns named {list(columns)[:10]}: give the same columns in the same order "
            "without names, such as df.to_numpy(), or name them x0, x1 and so on, as in a file"
        )
    others = [each for each in columns if each not in {*names, *targets}]
    close = {each: closest(each, others, 1) for each in missing}
    hints = [f"{found[0]!r} may be {each!r}" for each, found in close.items() if found]
    raise TableError(
        f"columns {missing} were trained on and are missing here: add them, empty where nothing is "
        f"known{', or rename what holds them: ' if hints else ''}{', '.join(hints[:3])}"
    )


def select(source: Any, names: Sequence[str]) -> Any:
    """Leave of a source only what a network reads that was trained on columns of these names.

    A pandas data frame loses its other columns before they are converted, which not all can be;
    one that lacks a column keeps them, for `matrix_of` to say which of them it may be. Features of
    a table that are an array under other names become a data frame, in which columns are found by
    their names.
    """
    if isinstance(source, Table):
        own, array = source.feature_names, isinstance(source.features, np.ndarray)
        if not array or own in (tuple(names), places(len(own))):
            return source
        import polars as pl

        return pl.DataFrame(source.features, schema=list(own))
    columns = names_in(source)
    if columns is None or not set(names) <= set(columns):
        return source
    return source.iloc[:, [place for place, each in enumerate(columns) if each in names]]


def matrix_of(
    features: pl.DataFrame | Array, names: tuple[str, ...], kinds: tuple[str, ...], vectorizer: Any,
    targets: tuple[str, ...] = (),
) -> Array:  # fmt: skip
    """Give all columns as one matrix, (rows, columns), NaN for missing values, none infinite.

    targets: the columns of the target, which a table to predict for may have or not.
    """
    if isinstance(features, np.ndarray):
        if features.shape[1] != len(names):
            raise TableError(
                f"{len(names)} columns were trained on; got {features.shape[1]}: an array takes "
                "the same columns in the same order (a data frame may hold others, in any order)"
            )
        if vectorizer is None:
            check_finite(features, names, "the table")
            return features
        import polars as pl

        features = pl.DataFrame(features, schema=list(names))
    _refuse_missing(features.columns, names, targets)
    pairs = list(zip(names, kinds, strict=True))
    numbers = [name for name, kind in pairs if kind == "number"]
    others = [
        as_kind(features[name], kind, _known_texts(vectorizer, name))
        for name, kind in pairs
        if kind != "number"
    ]
    matrix = np.empty((len(features), len(numbers)))
    for index, name in enumerate(numbers):
        matrix[:, index] = as_kind(features[name], "number").to_numpy()
    check_finite(matrix, numbers, "the table")
    return matrix if vectorizer is None else np.hstack([matrix, _vectorize(vectorizer, others)])


def fit_vectorizer(features: pl.DataFrame, kinds: tuple[str, ...]) -> Any:
    """Fit skrub's TableVectorizer to the columns that are no numbers; None if all are."""
    columns = zip(features.iter_columns(), kinds, strict=True)
    others = [as_kind(column, kind) for column, kind in columns if kind != "number"]
    if not others:
        return None
    import polars as pl
    from skrub import DatetimeEncoder, StringEncoder, TableVectorizer

    vectorizer = TableVectorizer(
        high_cardinality=StringEncoder(random_state=0),
        datetime=DatetimeEncoder(add_weekday=True),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return vectorizer.fit(pl.DataFrame(others))


def _known_texts(vectorizer: Any, name: str) -> list[str]:
    """Give the texts that a column held in training; none where they were too many to be kept."""
    encoder = vectorizer.transformers_.get(name)
    return [each for each in getattr(encoder, "categories_", [[]])[0] if isinstance(each, str)]


def _vectorize(vectorizer: Any, columns: list[pl.Series]) -> Array:
    """Give what a fitted vectorizer makes of its columns, (rows, outputs) float32."""
    import polars as pl

    frame = pl.DataFrame(columns)
    if not (len(frame) and vectorizer.all_outputs_):
        return np.empty((len(frame), len(vectorizer.all_outputs_)), dtype=np.float32)
    with warnings.catch_warnings():
        # scikit-learn warns of each unseen category; here it simply sets no input to 1.
        warnings.simplefilter("ignore")
        return np.asarray(vectorizer.transform(frame).to_numpy(), dtype=np.float32)


def load_vectorizer(packed: bytes) -> Any:
    """Read a vectorizer of trusted types only."""
    from skops.io import get_untrusted_types, loads

    try:
        foreign = sorted(set(get_untrusted_types(data=packed)) - set(TRUSTED_TYPES))
        if foreign:
            raise ModelFileError(
                f"the preparation holds types that are not trusted, {foreign}: the file is "
                "foreign, or of another version of skrub than the one installed"
            )
        return loads(packed, trusted=list(TRUSTED_TYPES))
    except ModelFileError:
        raise
    except Exception as error:  # damaged bytes can make skops fail in any way
        raise ModelFileError(f"the preparation's vectorizer is damaged: {error!r}") from error
