"""Figures show what they are given."""

import numpy as np
import pytest
from matplotlib.text import Text

from common.display.plotting import save_figure
from sed_task4.segmentation.figures import (
    ABSENT,
    OCCURS,
    curves_figure,
    masks_figure,
    mixture_figure,
    separated_figure,
)

CLASSES = tuple(f"class{k}" for k in range(8))
RNG = np.random.default_rng(0)


def headings(figure) -> list[str]:
    return [
        axes.get_title(loc="left")
        for axes in figure.axes
        if axes.get_visible() and axes.get_title(loc="left")
    ]


def colour_of_heading(axes) -> str:
    text = axes.get_title(loc="left")
    return next(each.get_color() for each in axes.findobj(Text) if each.get_text() == text)


def test_a_mixture_has_waveform_spectrogram_and_ideal_mask(tmp_path):
    figure = mixture_figure(
        RNG.normal(size=8000), 8000, RNG.random((30, 129)), RNG.random((30, 129)), "a.wav"
    )
    assert headings(figure) == ["Waveform", "Spectrogram", "Ideal ratio mask"]
    mask = figure.axes[2].images[0].get_array()
    assert mask.shape == (129, 30)
    save_figure(figure, tmp_path / "mixture.png")
    assert (tmp_path / "mixture.png").read_bytes()[:4] == b"\x89PNG"


def test_each_class_has_a_mask_and_occurring_ones_colours(tmp_path):
    masks = RNG.random((20, 16, 8))
    figure = masks_figure(
        RNG.normal(size=(20, 16)),
        masks,
        CLASSES,
        10.0,
        "a.wav",
        tags=np.linspace(0, 1, 8),
        occurring=["class2"],
    )
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    shown = panels["class2  0.29"]
    assert np.allclose(shown.images[0].get_array(), masks[..., 2].T)
    assert colour_of_heading(shown) == OCCURS
    assert colour_of_heading(panels["class7  1.00"]) == ABSENT
    save_figure(figure, tmp_path / "masks.png")


def test_curves_show_true_and_estimated_events(tmp_path):
    frames = RNG.random((50, 8))
    estimate, reference = (
        np.array([[1, 1.0, 2.0], [1, 4.0, 5.0], [3, 0.0, 1.0]]),
        np.array([[1, 1.0, 2.5]]),
    )
    figure = curves_figure(frames, estimate, CLASSES, 10.0, "a.wav", reference=reference)
    axes = figure.axes[1]
    assert np.allclose(axes.lines[0].get_ydata(), frames[:, 1])
    assert len(axes.patches) == 3  # two estimated, one true
    assert len(figure.axes[3].patches) == 1
    save_figure(figure, tmp_path / "curves.png")


@pytest.mark.parametrize("reference", [None, np.zeros((0, 3))])
def test_curves_need_neither_reference_nor_events(reference):
    figure = curves_figure(
        RNG.random((50, 8)), np.zeros((0, 3)), CLASSES, 10.0, "a.wav", reference=reference
    )
    assert not figure.axes[0].patches


def test_separated_sounds_are_next_to_the_reference_if_known(tmp_path):
    mixture = RNG.normal(size=16000)
    sounds = {"Bark": mixture / 2, "Meow": np.zeros(16000)}
    figure = separated_figure(mixture, sounds, 8000, "a.wav", references={"Bark": mixture / 3})
    assert headings(figure) == ["Mixture", "Bark: separated", "Bark: reference", "Meow: separated"]
    save_figure(figure, tmp_path / "separated.png")


def test_a_short_recording_without_any_sound_can_be_drawn(tmp_path):
    figure = separated_figure(RNG.normal(size=100), {}, 8000, "a.wav")
    assert headings(figure) == ["Mixture"]
    save_figure(figure, tmp_path / "separated.png")
