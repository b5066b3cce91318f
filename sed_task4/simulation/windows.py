"""Windows of simulated recordings with soft labels, laid out as those of MAESTRO Real.

A recording is rendered once and cut into overlapping windows. Its labels are those of seconds: the
share of a second in which a class sounds, times its clarity, as if annotators had missed some.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sed_task4.clips import recording_windows
from sed_task4.clips.recording_windows import Window
from sed_task4.dataset import SOFT_COLUMNS
from sed_task4.simulation import plans as planning
from sed_task4.simulation.plans import SUBSETS, ClipPlan, PlannedEvent, Slot
from sed_task4.simulation.settings import SceneSettings

SCENES = ("cafe_restaurant", "city_center", "grocery_store", "metro_station", "residential_area")
LONGER_S = 5.0  # recordings than windows
_SEGMENT_S = 1.0  # of the labels
_CLARITY = (0.3, 1.0)
SUFFIX = ".wav"


def is_windowed(subset: str) -> bool:
    """True if the clips of a subset are windows of recordings."""
    return SUBSETS[subset].hop_s is not None


def length_s(subset: str, clip_s: float) -> float:
    """Length of what is rendered at once for a subset: a clip, or a recording of windows."""
    return clip_s + (LONGER_S if is_windowed(subset) else 0.0)


def windows_of(subset: str, recording: str, clip_s: float) -> list[Window]:
    """Windows of a simulated recording."""
    hop_s, end_s = SUBSETS[subset].hop_s or clip_s, length_s(subset, clip_s)
    return recording_windows.windows_of(recording, end_s, clip_s, hop_s)


def name_recordings(subset: str, n_windows: int, clip_s: float) -> list[Slot]:
    """Names the recordings of at least so many windows: cafe_restaurant_00, city_center_00 ..."""
    first = SUBSETS[subset].first_number
    count = -(-n_windows // len(windows_of(subset, "", clip_s)))
    numbers = (divmod(index, len(SCENES)) for index in range(count))
    names = [f"{SCENES[scene]}_{first + number:02d}" for number, scene in numbers]
    return [Slot(subset, name, index) for index, name in enumerate(names)]


def plan_recording(
    slot: Slot,
    settings: SceneSettings,
    classes: Sequence[str],
    own_durations_s: Mapping[str, Sequence[float]],
) -> ClipPlan:
    """Draws the events of a recording, see `sed_task4.simulation.plans.plan_clip`."""
    longer = replace(settings, clip_s=length_s(slot.subset, settings.clip_s))
    return planning.plan_clip(slot, longer, classes, own_durations_s)


def format_soft(plans: Iterable[ClipPlan], settings: SceneSettings) -> str:
    """Formats soft labels: a row for each second of a window in which a class sounds."""
    rows = []
    for plan in plans:
        confidences = segment_confidences(plan, settings)
        for window in windows_of(plan.subset, plan.name, settings.clip_s):
            rows += _rows_of(window, confidences)
    header = "\t".join(SOFT_COLUMNS)
    return "\n".join([header, *sorted(rows, key=lambda row: row.split("\t")[0])]) + "\n"


def segment_confidences(plan: ClipPlan, settings: SceneSettings) -> dict[tuple[float, str], float]:
    """Confidence of each class in each second of a recording, by its beginning and the class."""
    confidences = {}
    names = sorted({event.class_name for event in plan.events})
    rng = planning.clip_stream(settings, plan.subset, plan.name, "clarity")
    clarity = {name: float(rng.uniform(*_CLARITY)) for name in names}
    end_s = length_s(plan.subset, settings.clip_s)
    for start_s in (number * _SEGMENT_S for number in range(int(end_s / _SEGMENT_S))):
        for name in names:
            own = (event for event in plan.events if event.class_name == name)
            share = min(1.0, sum(_overlap_s(event, start_s) for event in own) / _SEGMENT_S)
            if confidence := round(share * clarity[name], 3):
                confidences[start_s, name] = confidence
    return confidences


def _overlap_s(event: PlannedEvent, start_s: float) -> float:
    """Seconds of an event within the segment that begins at `start_s`."""
    return max(0.0, min(event.offset_s, start_s + _SEGMENT_S) - max(event.onset_s, start_s))


def _rows_of(window: Window, confidences: Mapping[tuple[float, str], float]) -> list[str]:
    rows = []
    for (start_s, name), confidence in confidences.items():
        onset_s = max(0.0, start_s - window.begin_s)
        offset_s = min(start_s + _SEGMENT_S, window.end_s) - window.begin_s
        if onset_s < offset_s:
            row = window.name + SUFFIX, repr(onset_s), repr(offset_s), name, repr(confidence)
            rows.append("\t".join(row))
    return rows
