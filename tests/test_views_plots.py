"""Histograms as pictures, by status and by model, and how a picture becomes a PNG."""

import io
import math
import random
from dataclasses import replace

import nbformat
import numpy as np
import pytest
from matplotlib.image import imread
from nbclient import NotebookClient

from xz_magics.errors import SpecError
from xz_magics.records import STATUSES, Outcome, Reused, Trial, Turn
from xz_magics.views.plots import histograms, png
from xz_magics.views.plots.histograms import GROUP_LOOKS
from xz_magics.views.wording import COLOURS


def outcomes(count, statuses=STATUSES, duration_s=None, tokens=None, models=("scripted:$x",)):
    generator = random.Random(count)
    return [
        Outcome(
            index=index,
            label=f"$\\frac{{{index}",
            status=generator.choice(statuses),
            model=models[index % len(models)],
            max_tokens=64,
            turns=(
                Turn(
                    number=1,
                    attempts=1,
                    max_tokens=64,
                    started_at=0.0,
                    duration_s=1.0,
                    input_tokens=generator.randint(10, 900) if tokens is None else tokens,
                ),
            ),
            duration_s=generator.lognormvariate(1, 0.5) if duration_s is None else duration_s,
        )
        for index in range(count)
    ]


def heights(axes):
    return sum(bar.get_height() for bar in axes.patches)


@pytest.mark.parametrize("count", [1, 3, 40, 3_000])
def test_both_histograms_hold_every_task_once(count):
    picture = histograms(outcomes(count))

    durations, tokens = picture.axes
    assert heights(durations) == heights(tokens) == count
    assert (durations.get_xlabel(), tokens.get_xlabel()) == ("seconds", "tokens per task")
    assert (durations.get_ylabel(), tokens.get_ylabel()) == ("tasks", "tasks")


@pytest.mark.parametrize("count", [1, 3, 40, 3_000])
def test_counts_have_whole_numbers_at_their_axis(count):
    picture = histograms(outcomes(count))

    png(picture)

    for axes in picture.axes:
        assert all(float(tick).is_integer() for tick in axes.get_yticks())


def legend_of(picture):
    (legend,) = picture.legends
    return [words.get_text() for words in legend.get_texts()]


def looks_of(patches):
    return [(patch.get_facecolor(), patch.get_hatch()) for patch in patches]


def test_the_legend_names_the_statuses_that_are_drawn_each_with_its_own_look():
    picture = histograms(outcomes(300))

    assert legend_of(picture) == [status.replace("_", " ") for status in STATUSES]
    looks = set(looks_of(picture.legends[0].get_patches()))
    assert len(looks) == len({hatch for _, hatch in looks}) == len(STATUSES)


def test_by_model_each_model_has_a_look_of_its_own_the_most_frequent_first():
    picture = histograms(outcomes(60, models=("a:often", "b:rare", "a:often", "_c:$\\frac")), by="model")

    assert legend_of(picture) == ["a:often", "b:rare", "_c:$\\frac"]
    looks = looks_of(picture.legends[0].get_patches())
    assert len({hatch for _, hatch in looks}) == len({colour for colour, _ in looks}) == 3
    for axes in picture.axes:
        assert heights(axes) == 60
        tall = dict.fromkeys(looks, 0)
        for bar, look in zip(axes.patches, looks_of(axes.patches), strict=True):
            tall[look] += bar.get_height()
        assert list(tall.values()) == [30, 15, 15]
    assert not any(words.get_parse_math() for words in picture.legends[0].get_texts())
    assert png(picture)


def test_by_a_variable_of_the_matrix_each_arm_has_a_look_of_its_own_as_it_was_written():
    some = outcomes(40)
    arms = [{"temperature": (1.0, 0.0, None)[index % 3], "wording": "$x"} for index in range(30)]
    tried = [replace(one, trial=Trial(input="a", arms=arm)) for one, arm in zip(some, arms, strict=False)]

    picture = histograms([*tried, *some[30:]], by="temperature")

    assert legend_of(picture) == ["1.0", "0.0", "None", "no temperature"]
    assert [heights(axes) for axes in picture.axes] == [40] * 2
    assert picture.told.startswith("Histograms of 40 tasks by temperature. Durations from ")
    with pytest.raises(SpecError, match=r"told apart by 'wordings'\ndid you mean by=\"wording\"\?"):
        histograms(tried, by="wordings")


def test_no_group_has_the_colour_of_a_status():
    assert {colour for colour, _ in GROUP_LOOKS}.isdisjoint(COLOURS.values())


def test_ten_models_are_told_apart_and_of_more_the_rarest_are_others():
    names = [f"model-{number:02}" for number in range(13)]

    ten = histograms(outcomes(10, models=names[:10]), by="model")
    more = histograms(outcomes(13 * 5 + 9, models=names), by="model")

    assert legend_of(ten) == names[:10]
    assert len(set(looks_of(ten.legends[0].get_patches()))) == 10
    assert legend_of(more) == [*names[:9], "4 others"]
    assert [heights(axes) for axes in more.axes] == [13 * 5 + 9] * 2


def test_a_long_model_name_keeps_both_its_ends():
    picture = histograms(outcomes(2, models=("openai:gpt-" + "x" * 80 + "-2026-11-21", "local")), by="model")

    shown, _ = legend_of(picture)
    assert len(shown) == 36
    assert shown.startswith("openai:gpt-")
    assert shown.endswith("-2026-11-21")


def test_what_outcomes_cannot_be_told_apart_by_is_an_error_that_names_what_they_can():
    with pytest.raises(SpecError, match=r"told apart by 'colour'\nthere are: status, model"):
        histograms(outcomes(3), by="colour")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_has_no_number_is_counted_in_words_and_leaves_no_empty_legend(value):
    picture = histograms(outcomes(2, duration_s=value))

    durations, _ = picture.axes
    assert durations.get_title(loc="right") == "and 2 tasks without a value"
    assert [words.get_text() for words in durations.texts] == ["no values"]
    assert png(picture)
    assert histograms([]).legends == []


@pytest.mark.parametrize("value", [0, 1, 10**12])
def test_equal_values_make_one_bar(value):
    picture = histograms(outcomes(5, statuses=("done",), duration_s=float(value), tokens=value))

    assert [len(axes.patches) for axes in picture.axes] == [1, 1]
    assert png(picture)


@pytest.mark.parametrize("around_s", [0.001, 5.0, 60.0, 1_000_000.0])
def test_places_on_the_axis_of_durations_are_told_apart_by_their_words(around_s):
    some = outcomes(30, statuses=("done",))
    picture = histograms([replace(one, duration_s=around_s * (1 + index / 9_000)) for index, one in enumerate(some)])

    png(picture)

    words = [tick.get_text() for tick in picture.axes[0].get_xticklabels()]
    assert len(words) == len(set(words)) > 1
    assert not any("e" in word for word in words)


def test_large_counts_of_tokens_are_written_out():
    picture = histograms(outcomes(5, tokens=1_234_567))

    assert {tick.get_text() for tick in picture.axes[1].get_xticklabels()} >= {"1,234,567", "1,234,568"}


@pytest.mark.parametrize("by", ["status", "model"])
def test_a_picture_of_thousands_is_small_in_bytes(by):
    assert len(png(histograms(outcomes(3_000, models=[f"m{number}" for number in range(20)]), by=by))) < 40_000


def test_the_background_is_transparent_and_the_ink_reads_on_white_and_on_black():
    pixels = imread(io.BytesIO(png(histograms(outcomes(40)))))

    alpha = pixels[..., 3]
    assert alpha[0, 0] == 0
    assert np.mean(alpha == 0) > 0.3
    ink = pixels[(alpha == 1) & (np.ptp(pixels[..., :3], axis=-1) == 0)]
    assert len(ink) > 100
    assert 0.4 < np.median(ink[:, 0]) < 0.55


def test_a_cells_value_shows_once_whether_or_not_pyplot_is_in_use():
    cells = [
        "from xz_magics.views.plots import histograms\nhistograms([])",
        "import sys\nassert 'matplotlib.pyplot' not in sys.modules",
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nhistograms([])",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])

    NotebookClient(notebook, kernel_name="python3").execute()

    bare, _, inline = (cell.outputs for cell in notebook.cells)
    assert [set(output.data) for output in bare + inline] == [{"text/plain", "text/html", "image/png"}] * 2
    assert [output.data["text/plain"] for output in bare + inline] == ["Histograms of 0 tasks by status."] * 2


def test_what_it_shows_stands_in_words_beside_it_as_text():
    trial = Trial(input="a", arms={'"><script>': 1})

    data, metadata = histograms([replace(outcomes(1)[0], trial=trial)], by='"><script>')._repr_mimebundle_()

    assert 'alt="Histograms of 1 task by &quot;&gt;&lt;script&gt;. Durations from' in data["text/html"]
    assert data["text/html"].count("<") == 1
    assert metadata["image/png"]["alt"] == data["text/plain"]


def test_what_is_reused_is_in_neither_picture_and_both_forms_say_so():
    reused = [replace(one, reused=Reused(run="r", label="a", ended_at=0.0)) for one in outcomes(2)]

    picture = histograms([*outcomes(3), *reused])

    assert [heights(axes) for axes in picture.axes] == [3, 3]
    assert picture.get_suptitle() == "2 reused are in neither"
    assert picture.told.startswith("Histograms of 3 tasks by status.")
    assert picture.told.endswith(" 2 reused are in neither.")
    assert histograms(outcomes(3)).get_suptitle() == ""
