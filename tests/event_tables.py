"""Tables of events from the data frames that files of task 4 are read into."""

from collections.abc import Sequence

import pandas as pd

from common.events.table import EventTable
from sed_task4.dataset import events_by_name
from sed_task4.labels import event_array


def table_of(events: pd.DataFrame, names: Sequence[str], classes: Sequence[str]) -> EventTable:
    """Table of the events of some recordings, in the order of their names."""
    recordings = [event_array(rows, classes) for rows in events_by_name(events, names).values()]
    return EventTable.from_recordings(recordings, len(classes))
