"""NecroStack with every name that a program is documented to import, and no event class of its own."""

import necrostack

LOADED = [getattr(necrostack, name) for name in necrostack.__all__]
