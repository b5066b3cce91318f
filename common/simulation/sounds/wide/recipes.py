"""Wide recipes by the name of the plain ones that they stand beside."""

from collections.abc import Callable, Mapping

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.wide import animals, appliances, impacts, objects, voices

WIDE_RECIPES: Mapping[str, Callable[[Draw, int, float], np.ndarray]] = {
    "knock": impacts.knock,
    "drawer": impacts.drawer,
    "drop_keys": impacts.drop_keys,
    "keyboard": impacts.type_on_keyboard,
    "slam_door": impacts.slam_door,
    "dishes": impacts.rattle_dishes,
    "clear_throat": voices.clear_throat,
    "cough": voices.cough,
    "laughter": voices.laugh,
    "speech": voices.speak,
    "phrase": voices.speak,
    "phone": objects.ring_phone,
    "alarm": objects.ring_alarm,
    "turn_page": objects.turn_page,
    "bark": animals.bark,
    "meow": animals.meow,
    "fry": appliances.fry,
    "run_water": appliances.run_water,
    "blend": appliances.blend,
    "vacuum": appliances.vacuum,
    "shave": appliances.shave,
}
