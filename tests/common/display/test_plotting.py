import matplotlib.image
import numpy as np
import pytest

from common.display.plotting import Curve, Panel, figure_picture, learning_curves, save_figure
from common.errors import DataError

PANELS = (
    Panel(
        "Scores", "score", (Curve("f", "F"), Curve("doa", "DOA / 180°", scale=1 / 180)), best="doa"
    ),
    Panel("Unknown", "score", (Curve("nothing", "nothing"),)),
)
HISTORY = {"f": [0.1, 0.5, 0.4], "doa": [90.0, 18.0, 36.0]}


def test_curves_show_every_epoch_scaled():
    (axes,) = learning_curves(HISTORY, PANELS).axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    np.testing.assert_array_equal(lines["F"].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(lines["DOA / 180°"].get_ydata(), [0.5, 0.1, 0.2])


def test_the_best_epoch_is_marked_with_its_value():
    (axes,) = learning_curves(HISTORY, PANELS).axes
    assert [text.get_text() for text in axes.texts] == ["best 0.10"]
    assert axes.texts[0].xy == (2, pytest.approx(0.1))


def test_panels_without_a_known_curve_are_left_out():
    assert [axes.get_title(loc="left") for axes in learning_curves(HISTORY, PANELS).axes] == [
        "Scores"
    ]


def test_scores_that_are_not_defined_leave_a_gap(tmp_path):
    save_figure(
        learning_curves({"f": [float("nan")], "doa": [float("nan")]}, PANELS),
        tmp_path / "curves.png",
    )
    assert matplotlib.image.imread(tmp_path / "curves.png").ndim == 3


def test_a_figure_on_a_page_is_a_reproducible_svg():
    one, two = (figure_picture(learning_curves(HISTORY, PANELS), "c", "a") for _ in range(2))
    assert one.source.startswith("data:image/svg+xml;base64,") and one == two


def test_an_empty_history_still_makes_a_file(tmp_path):
    save_figure(learning_curves({}, PANELS), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()


def test_only_the_finished_figure_stays_in_the_folder(tmp_path):
    save_figure(learning_curves(HISTORY, PANELS), tmp_path / "new" / "curves.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["curves.png"]


def test_an_unwritable_path_is_a_user_error_without_leftovers(tmp_path):
    (tmp_path / "curves.png").mkdir()
    with pytest.raises(DataError, match="Cannot write"):
        save_figure(learning_curves(HISTORY, PANELS), tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_curves_of_another_network_are_dotted_with_one_legend_entry():
    others = [Curve(f"other_{name}", "teacher", colour=0, beside=name) for name in ("f", "doa")]
    panel = Panel("Scores", "score", (Curve("f", "F"), *others))
    history = {"f": [0.1, 0.5], "other_f": [0.2, 0.4], "other_doa": [0.3, 0.3]}
    (axes,) = learning_curves(history, [panel]).axes
    drawn = [line.get_linestyle() for line in axes.lines if len(line.get_xdata()) == 2]
    assert drawn == ["-", ":", ":"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["F", "teacher"]


@pytest.mark.parametrize(("n_panels", "rows"), [(4, 1), (5, 2), (6, 2)])
def test_more_than_four_panels_stand_in_two_rows(n_panels, rows):
    panels = [Panel(str(number), "score", (Curve("f", "F"),)) for number in range(n_panels)]
    figure = learning_curves({"f": [0.1]}, panels)
    assert len(figure.axes) == n_panels
    assert figure.axes[0].get_gridspec().nrows == rows
