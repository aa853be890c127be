"""One small file per published system: a docstring and one function that returns a config.

Importing this package fills the registry with every file in it.
"""

import importlib
import pkgutil

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")
