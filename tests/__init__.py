"""Tests of the project; they run on Keras with default settings, whatever the user's keras.json."""

from common.runtime.machine import overrule_machine

overrule_machine()
