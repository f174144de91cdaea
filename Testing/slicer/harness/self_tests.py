"""`slicer.testing`, with which CTest runs a module's self-test."""

import sys
import types
import unittest


def run_unit_test(path: str | list[str], test_name: str) -> None:
    """Runs all tests of the Python module `test_name`, looked for in these folders too.

    Raises:
        RuntimeError: if one fails, or if there is none.
    """
    sys.path.extend([path] if isinstance(path, str) else path)
    suite = unittest.TestLoader().loadTestsFromName(test_name)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if not result.testsRun or not result.wasSuccessful():
        message = f"{test_name}: {result.testsRun} tests run, {len(result.failures) + len(result.errors)} failed"
        raise RuntimeError(message)


def as_module() -> types.ModuleType:
    module = types.ModuleType("slicer.testing")
    module.runUnitTest = run_unit_test
    return module
