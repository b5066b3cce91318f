"""All targets, by name."""

from tests.fuzz import audio, models, runs, settings, shards, stores, tables
from tests.fuzz.engine import Target

TARGETS: dict[str, Target] = {
    target.name: target for room in (audio, tables, settings, shards, stores, runs, models) for target in room.TARGETS
}
