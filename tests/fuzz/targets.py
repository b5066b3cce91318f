"""All targets, by name."""

import common.data.tfrecord  # noqa: F401  # loads TensorFlow without its greetings
from tests.fuzz import audio, models, runs, settings, shards, stores, tables
from tests.fuzz.engine import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for room in (audio, tables, settings, shards, stores, runs, models)
    for target in room.TARGETS
}
