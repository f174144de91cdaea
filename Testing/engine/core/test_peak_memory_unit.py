"""Peak memory is reported in one unit."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = "import numpy as np; from automedsam.core.memory import peak_memory_mb as p; b = p(); a = np.ones({n}, np.uint8)"


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux reports memory as precisely")
def test_a_megabyte_is_a_million_bytes() -> None:
    code = CODE.format(n=300_000_000) + "; print(p() - b)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    risen = float(run.stdout)
    assert 298 < risen < 310
