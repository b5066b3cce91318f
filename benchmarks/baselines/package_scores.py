"""Scores over all thresholds by sed_scores_eval, one line of JSON for each on standard input.

    python benchmarks/baselines/package_scores.py

Commands, each with one line of JSON as reply: {"do": "load", "arrays"}: nothing, after it took the
scores and events of a file; {"do": "step"}: CPU seconds, and PSDS 1, PSDS 2 and best F.
"""

import json
import sys
import time

import numpy as np
from sed_scores_eval import collar_based, intersection_based
from sed_scores_eval.base_modules.scores import create_score_dataframe

SCENARIOS = (
    {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "cttc_threshold": None, "alpha_ct": 0.0},
    {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5},
)
COLLARS = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}


class Clips:
    """Clips of one length as the package wants them: tables and lists by the clip's name."""

    def __init__(self, path: str):
        with np.load(path, allow_pickle=False) as arrays:
            scores, edges_s, events = arrays["scores"], arrays["edges_s"], arrays["events"]
            duration_s = float(arrays["duration_s"])
        names = [str(k) for k in range(scores.shape[2])]
        self.scores = {
            str(clip): create_score_dataframe(each, edges_s, names)
            for clip, each in enumerate(scores)
        }
        self.events: dict[str, list] = {clip: [] for clip in self.scores}
        for clip, k, onset_s, offset_s in events.tolist():
            self.events[str(int(clip))].append((onset_s, offset_s, names[int(k)]))
        self.durations_s = dict.fromkeys(self.scores, duration_s)

    def score(self) -> list[float]:
        """PSDS 1, PSDS 2 and best F."""
        given = self.scores, self.events
        values = [
            intersection_based.psds(*given, self.durations_s, alpha_st=1.0, **scenario)[0]
            for scenario in SCENARIOS
        ]
        best, *_ = collar_based.best_fscore(*given, **COLLARS)
        return [float(value) for value in (*values, best["macro_average"])]


def main() -> None:
    """Replies to the requests until the input ends."""
    clips = None
    for line in sys.stdin:
        request = json.loads(line)
        reply: dict = {}
        if request["do"] == "load":
            clips = Clips(request["arrays"])
        elif clips is not None:
            start_s = time.process_time()
            values = clips.score()
            reply = {"seconds": time.process_time() - start_s, "scores": values}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
