from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from datakit.seeds import generator, permutation


@given(st.integers(0, 50), st.integers())
def test_a_permutation_holds_every_index_once(length, seed):
    assert sorted(permutation(length, generator(seed, "p"))) == list(range(length))


@given(st.integers(), st.text(), st.text())
def test_another_purpose_draws_something_else(seed, one, other):
    assert (generator(seed, one).random() == generator(seed, other).random()) == (one == other)


def test_every_process_python_and_machine_draws_the_same():
    code = "from datakit.seeds import generator, permutation; print(permutation(9, generator(7, 'a/b.jpg', 'shuffle', 3)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[0, 7, 4, 2, 5, 8, 6, 1, 3]\n"
