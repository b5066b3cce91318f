"""Tests of the whole project. They run on Keras as it is shipped, whatever the user's keras.json
says."""

from common.runtime.machine import overrule_machine

overrule_machine()
