"""Sound recipes and durations of the classes of each layout."""

from collections.abc import Mapping

from common.simulation.sound_bank import DurationRange
from seld.recordings.layouts import LAYOUTS, Layout
from seld.simulation.settings import SceneSettings

ClassSounds = Mapping[str, tuple[str, DurationRange]]

# Class of the dataset of 2019 -> sound recipe and durations as measured in real annotations.
CLASS_SOUNDS: dict[str, tuple[str, DurationRange]] = {
    "knock": ("knock", DurationRange(0.50, 0.58, 0.96)),
    "drawer": ("drawer", DurationRange(0.61, 0.83, 1.33)),
    "clearthroat": ("clear_throat", DurationRange(0.61, 0.70, 1.03)),
    "phone": ("phone", DurationRange(1.78, 2.35, 3.24)),
    "keysDrop": ("drop_keys", DurationRange(0.22, 0.25, 0.37)),
    "speech": ("speech", DurationRange(1.77, 1.91, 2.34)),
    "keyboard": ("keyboard", DurationRange(1.77, 2.39, 2.47)),
    "pageturn": ("turn_page", DurationRange(0.67, 0.81, 0.97)),
    "cough": ("cough", DurationRange(0.69, 1.05, 1.23)),
    "doorslam": ("slam_door", DurationRange(0.41, 0.44, 0.66)),
    "laughter": ("laughter", DurationRange(1.32, 1.50, 2.27)),
}

# Classes of 2020 to 2025; their durations are plausible ones, not measured.
LATER_SOUNDS: dict[str, tuple[str, DurationRange]] = {
    "alarm": ("alarm", DurationRange(1.5, 3.5, 8.0)),
    "baby": ("cry", DurationRange(1.0, 2.5, 6.0)),
    "crash": ("crash", DurationRange(0.5, 1.2, 2.5)),
    "dog": ("bark", DurationRange(0.3, 0.8, 2.5)),
    "engine": ("engine", DurationRange(2.0, 5.0, 10.0)),
    "female_scream": ("high_scream", DurationRange(0.7, 1.4, 3.0)),
    "female_speech": ("high_speech", DurationRange(1.2, 3.0, 6.0)),
    "fire": ("fire", DurationRange(2.0, 5.0, 10.0)),
    "footsteps": ("walk", DurationRange(1.5, 4.0, 9.0)),
    "knock": ("knock", DurationRange(0.5, 0.8, 2.0)),
    "male_scream": ("low_scream", DurationRange(0.7, 1.4, 3.0)),
    "male_speech": ("low_speech", DurationRange(1.2, 3.0, 6.0)),
    "phone": ("phone", DurationRange(1.0, 3.0, 7.0)),
    "piano": ("piano", DurationRange(1.5, 4.0, 9.0)),
    "clapping": ("clap", DurationRange(0.8, 2.0, 4.0)),
    "telephone": ("phone", DurationRange(1.0, 3.0, 7.0)),
    "laughter": ("laughter", DurationRange(1.0, 1.6, 3.0)),
    "domestic_sounds": ("housework", DurationRange(2.0, 5.0, 10.0)),
    "door": ("slam_door", DurationRange(0.5, 0.9, 1.6)),
    "music": ("music", DurationRange(4.0, 8.0, 15.0)),
    "musical_instrument": ("instrument", DurationRange(1.5, 4.0, 8.0)),
    "water_tap": ("run_water", DurationRange(2.0, 4.0, 8.0)),
    "bell": ("ring_bell", DurationRange(1.0, 2.0, 4.0)),
}
# Interferers of layouts that name none.
OTHER_SOUNDS: dict[str, tuple[str, DurationRange]] = {
    "tearing": ("tear", DurationRange(0.8, 1.5, 3.0)),
    "typing": ("keyboard", DurationRange(1.5, 3.0, 6.0)),
}


def class_sounds(settings: SceneSettings) -> ClassSounds:
    """Sounds by class, and by kind of interferer, of the layout of some settings."""
    return CLASS_SOUNDS if settings.motion is None else {**OTHER_SOUNDS, **LATER_SOUNDS}


def interferers(settings: SceneSettings) -> tuple[str, ...]:
    """Kinds of sounds without a label; none where a recording has no such sound."""
    if settings.motion is None or not settings.motion.interferers:
        return ()
    layout: Layout = LAYOUTS[settings.motion.layout]
    return layout.interferers or tuple(OTHER_SOUNDS)
