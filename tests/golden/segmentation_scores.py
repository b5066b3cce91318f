"""Cases of what time-frequency segmentation finds in clips: targets frame by frame, and events."""

from collections.abc import Callable

import numpy as np

from tests.golden.recipes import Arrays


def tfseg_sed(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.events.table import events_frame
    from sed_task4.decoding import decode_clip
    from sed_task4.labels import frame_activity
    from sed_task4.segmentation.score import PUBLISHED_DECODING

    clips, classes, frames = inputs["meta_json"], inputs["labels"].tolist(), inputs["sed_output"]
    columns = "event_label", "onset", "offset"
    events = [
        np.array(
            [
                (classes.index(label), *times)
                for label, *times in (map(event.get, columns) for event in rows)
            ]
        )
        for rows in (clip["events"] for clip in clips)
    ]
    hop_s = 1024 / 32000
    estimates = [decode_clip(clip, None, PUBLISHED_DECODING, hop_s) for clip in frames]
    targets = [
        frame_activity(rows, frames.shape[1], 1 / hop_s, len(classes), "kong2018")
        for rows in events
    ]
    found = events_frame([clip["mixture_name"] for clip in clips], estimates, classes)
    return {"sed_target": np.stack(targets), "estimated_json": found.to_dict("records")}


CASES: dict[str, Callable[[Arrays, dict], dict[str, object]]] = {"tfseg_sed": tfseg_sed}
